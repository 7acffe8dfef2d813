import Kernels
import LinearAlgebra

/// The point with the smallest sum of distances to the rows of x [N, D]: b_dec's start, since a mean would follow
/// the few rows of enormous norm that language models have.
///
/// Weiszfeld's iteration from the mean, weights 1/‖x_b − g‖ normalised to sum 1, at most 100 times, until g moves by
/// less than 1e-5 (the reference trainer's constants).
public func geometricMedian(of x: Matrix, iterations: Int = 100, tolerance: Double = 1e-5) -> Matrix {
    let d = x.columns
    var median = [Double](repeating: 0, count: d)
    for r in 0..<x.rows {
        for c in 0..<d { median[c] += Double(x[r, c]) / Double(x.rows) }
    }
    var next = [Double](repeating: 0, count: d)
    for _ in 0..<iterations {
        var total = 0.0
        for c in 0..<d { next[c] = 0 }
        for r in 0..<x.rows {
            let row = x.row(r)
            var square = 0.0
            for c in 0..<d {
                let difference = Double(row[c]) - median[c]
                square += difference * difference
            }
            // A row at the median itself would weigh infinitely; the median is then that row.
            let weight = 1 / max(square.squareRoot(), 1e-12)
            total += weight
            for c in 0..<d { next[c] += weight * Double(row[c]) }
        }
        var moved = 0.0
        for c in 0..<d {
            let value = next[c] / total
            moved += (value - median[c]) * (value - median[c])
            median[c] = value
        }
        if moved.squareRoot() < tolerance { break }
    }
    return Matrix(vector: median.map(Float.init))
}
