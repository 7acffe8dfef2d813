/// The matching of every row with a column of its own that has the largest sum of values: the linear assignment problem.
///
/// Shortest augmenting paths with dual prices (Jonker and Volgenant 1987, in the form for rectangles of Crouse 2016): O(n² m) for
/// n rows and m columns, n ≤ m. By hand: no C library that is kept well has it by itself.
public struct OptimalAssignment: Sendable {
    /// [n] the column of each row.
    public let columns: [Int]
    /// u and v: no value exceeds uᵢ + vⱼ, and what is matched attains it, which proves that no other matching has a larger sum.
    package let rowPrices: [Double]
    package let columnPrices: [Double]

    /// The best matching for the values [n, m], n ≤ m, all finite. `done` is told of each row that is matched.
    ///
    /// - Throws: what `done` throws.
    public init(maximizing values: Matrix, done: () throws -> Void = {}) rethrows {
        let (n, m) = (values.rows, values.columns)
        precondition(n <= m, "\(n) rows for \(m) columns")
        // Costs are the values' negatives.
        var (u, v) = ([Double](repeating: 0, count: n), [Double](repeating: 0, count: m))
        var (rowOf, columnOf) = ([Int](repeating: -1, count: m), [Int](repeating: -1, count: n))
        var cost = [Double](repeating: 0, count: m)
        var (before, left) = ([Int](repeating: -1, count: m), [Int](repeating: 0, count: m))
        for start in 0..<n {
            for j in 0..<m { (cost[j], left[j]) = (.infinity, j) }
            var (row, end, reached, least) = (start, -1, 0, 0.0)
            // The first `reached` of `left` are the columns whose shortest path is known.
            while end < 0 {
                let rowValues = values.row(row)
                let base = least - u[row]
                var (next, nextAt) = (Double.infinity, -1)
                for at in reached..<m {
                    let j = left[at]
                    let through = base - Double(rowValues[j]) - v[j]
                    if through < cost[j] { (cost[j], before[j]) = (through, row) }
                    // Of equal ones a free column: the path ends there.
                    if cost[j] < next || cost[j] == next && rowOf[j] < 0 { (next, nextAt) = (cost[j], at) }
                }
                least = next
                let j = left[nextAt]
                left.swapAt(reached, nextAt)
                reached += 1
                if rowOf[j] < 0 { end = j } else { row = rowOf[j] }
            }
            u[start] += least
            for j in left[..<(reached - 1)] {
                u[rowOf[j]] += least - cost[j]
                v[j] -= least - cost[j]
            }
            var j = end
            while true {
                let row = before[j]
                rowOf[j] = row
                swap(&columnOf[row], &j)
                if row == start { break }
            }
            try done()
        }
        columns = columnOf
        (rowPrices, columnPrices) = (u.map { -$0 }, v.map { -$0 })
    }
}
