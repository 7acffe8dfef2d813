/// Latents in the order in which a sparse probe takes them.
package enum LatentRanking: String, Sendable, CaseIterable {
    /// By |difference of class means| of f over the latent's mean where it fires, as sae-probes does unless told otherwise.
    case normalized
    /// By |difference of class means| of f.
    case plain

    /// All columns of rows, the largest difference first; of equal ones the lower first.
    package func order(_ rows: FeatureRows, _ labels: [Bool]) -> [Int] {
        let p = rows.columnCount
        var sums = (positive: [Double](repeating: 0, count: p), negative: [Double](repeating: 0, count: p))
        var (total, firings) = ([Double](repeating: 0, count: p), [Double](repeating: 0, count: p))
        for r in 0..<rows.rowCount {
            rows.forEach(inRow: r) { j, f in
                if labels[r] { sums.positive[j] += f } else { sums.negative[j] += f }
                total[j] += abs(f)
                firings[j] += 1
            }
        }
        let positives = Double(labels.count { $0 }), negatives = Double(labels.count) - positives
        let differences = (0..<p).map { j in
            // sae-probes' own constants, which keep latents that never fire from dividing by 0.
            let scale = self == .normalized ? total[j] / (firings[j] + 1e-6) + 1e-6 : 1
            return abs(sums.positive[j] / positives - sums.negative[j] / negatives) / scale
        }
        return (0..<p).sorted { (differences[$0], $1) > (differences[$1], $0) }
    }
}
