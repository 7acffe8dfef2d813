/// The smallest set of latents that explains a fraction τ of all attribution.
public struct CoreSelection: Equatable, Sendable {
    /// Indices in falling order of score; ties: lower index first.
    public let latents: [Int]
    /// Σ over the core / Σ over all.
    public let coverage: Double

    /// Selects from A [m]: C is the shortest prefix of the falling order with Σ_{j∈C} A_j ≥ τ Σ_j A_j. τ = 1 selects
    /// exactly {A_j > 0}. Negative scores (signed aggregates) count as 0.
    ///
    /// - Parameter measure: what the scores are, over `tokens` tokens, for the error's advice.
    /// - Throws: `AttributionError` when τ is out of range, no score is positive, or one is not finite.
    public init(
        _ scores: [Double], fraction: Double, tokens: Int = 0,
        measure: ScoreMeasure = .aggregate(.standard, .all, isSigned: false)
    ) throws {
        guard fraction > 0 && fraction <= 1 else { throw AttributionError.badFraction(fraction) }
        let positive = scores.indices.filter { scores[$0] > 0 }
        let order = positive.sorted { (scores[$0], $1) > (scores[$1], $0) }
        let total = order.reduce(0.0) { $0 + scores[$1] }
        guard total > 0 else {
            throw AttributionError.noAttribution(
                candidates: scores.count, tokens: tokens, measure: measure)
        }
        guard total.isFinite, scores.allSatisfy(\.isFinite) else {
            let latent = scores.firstIndex { !$0.isFinite } ?? order[0]
            throw AttributionError.aggregateNotFinite(latent: latent, value: scores[latent])
        }
        guard fraction < 1 else {
            latents = order
            coverage = 1
            return
        }
        var sum = 0.0
        var count = 0
        while count < order.count && sum < fraction * total {
            sum += scores[order[count]]
            count += 1
        }
        latents = Array(order[0..<count])
        coverage = sum / total
    }
}

/// |A ∩ B| / |A ∪ B|; 1 for two empty sets.
public func jaccard(_ a: Set<Int>, _ b: Set<Int>) -> Double {
    let union = a.union(b).count
    return union == 0 ? 1 : Double(a.intersection(b).count) / Double(union)
}
