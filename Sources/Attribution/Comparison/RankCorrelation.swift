/// Ranks 1…n in falling order; ties share the mean of their ranks.
package func ranks(_ values: [Double]) -> [Double] {
    let order = values.indices.sorted { (values[$0], $1) > (values[$1], $0) }
    var ranks = [Double](repeating: 0, count: values.count)
    var first = 0
    while first < order.count {
        var end = first + 1
        while end < order.count && values[order[end]] == values[order[first]] { end += 1 }
        for i in first..<end { ranks[order[i]] = Double(first + end + 1) / 2 }
        first = end
    }
    return ranks
}

/// Pearson's r; NaN where one side has no variance.
package func pearsonCorrelation(_ a: [Double], _ b: [Double]) -> Double {
    precondition(a.count == b.count, "\(a.count) and \(b.count) values")
    let n = Double(a.count)
    let (meanA, meanB) = (a.reduce(0, +) / n, b.reduce(0, +) / n)
    var (aa, bb, ab) = (0.0, 0.0, 0.0)
    for i in a.indices {
        aa += (a[i] - meanA) * (a[i] - meanA)
        bb += (b[i] - meanB) * (b[i] - meanB)
        ab += (a[i] - meanA) * (b[i] - meanB)
    }
    return aa > 0 && bb > 0 ? ab / (aa * bb).squareRoot() : .nan
}

/// Spearman's ρ: Pearson's r of the ranks, ties sharing theirs.
package func spearmanCorrelation(_ a: [Double], _ b: [Double]) -> Double { pearsonCorrelation(ranks(a), ranks(b)) }

/// Kendall's τ_b = (P − Q)/√((n₀ − n₁)(n₀ − n₂)), with P concordant and Q discordant pairs of n₀, n₁ and n₂ of them
/// tied in a and in b; NaN where all are. In O(n log n): sorted by a, discordant pairs are the exchanges that sorting
/// by b takes (Knight, JASA 61, 1966).
package func kendallCorrelation(_ a: [Double], _ b: [Double]) -> Double {
    precondition(a.count == b.count, "\(a.count) and \(b.count) values")
    let order = a.indices.sorted { (a[$0], b[$0]) < (a[$1], b[$1]) }
    func tiedPairs(_ isTied: (Int, Int) -> Bool, _ order: [Int]) -> Double {
        var (pairs, run) = (0.0, 1.0)
        for i in order.indices.dropFirst() {
            run = isTied(order[i - 1], order[i]) ? run + 1 : 1
            pairs += run - 1
        }
        return pairs
    }
    let all = Double(a.count) * Double(a.count - 1) / 2
    let tiedA = tiedPairs({ a[$0] == a[$1] }, order)
    let tiedBoth = tiedPairs({ a[$0] == a[$1] && b[$0] == b[$1] }, order)
    var values = order.map { b[$0] }
    let discordant = exchanges(&values)
    let tiedB = tiedPairs({ b[$0] == b[$1] }, b.indices.sorted { b[$0] < b[$1] })
    let denominator = ((all - tiedA) * (all - tiedB)).squareRoot()
    guard denominator > 0 else { return .nan }
    return (all - tiedA - tiedB + tiedBoth - 2 * discordant) / denominator
}

/// Sorts by merging and counts the pairs that were the wrong way round.
private func exchanges(_ values: inout [Double]) -> Double {
    var count = 0.0
    var merged = values
    var width = 1
    while width < values.count {
        for first in stride(from: 0, to: values.count, by: 2 * width) {
            let middle = min(first + width, values.count), end = min(first + 2 * width, values.count)
            var (left, right) = (first, middle)
            for at in first..<end {
                if right == end || left < middle && values[left] <= values[right] {
                    merged[at] = values[left]
                    left += 1
                } else {
                    merged[at] = values[right]
                    right += 1
                    count += Double(middle - left)
                }
            }
        }
        swap(&values, &merged)
        width *= 2
    }
    return count
}
