import SparseCoding

extension LatentInspection {
    /// Intervals of equal width between 0 and the largest activation, the highest first.
    func levels(of latent: Int, largest: Double, _ extent: Extent) -> [LatentDashboard.Level] {
        guard largest > 0, largest.isFinite, extent.levels > 0 else { return [] }
        // Which interval an entry is in, [entries]; the upper bound belongs to it.
        var members = [[Int]](repeating: [], count: extent.levels)
        for e in entries(of: latent).map({ Int($0) }) {
            let place = Double(fired.activations[e]) / largest * Double(extent.levels)
            members[min(extent.levels - 1, max(0, Int(place.rounded(.up)) - 1))].append(e)
        }
        return members.indices.reversed().map { level in
            let bound = { (i: Int) in largest * Double(i) / Double(extent.levels) }
            return LatentDashboard.Level(
                low: bound(level), high: bound(level + 1), tokens: members[level].count,
                contexts: contexts(
                    of: latent, around: spread(members[level], extent.levelContexts), radius: extent.radius))
        }
    }

    /// At most `count` of the entries, each of another sequence, spread evenly over the text.
    private func spread(_ entries: [Int], _ count: Int) -> [Int] {
        var first: [Int] = []
        for e in entries where first.last.map({ fired.sequence($0) != fired.sequence(e) }) ?? true { first.append(e) }
        let n = min(count, first.count)
        return (0..<n).map { first[$0 * first.count / n] }
    }

    /// The largest components of a decoder row; ties: lower index first.
    func alignment(of latent: Int, _ count: Int) -> [LatentDashboard.Component] {
        let row = sae.decoder.row(latent)
        let sum = (0..<sae.dIn).reduce(0.0) { $0 + Double(abs(row[$1])) }
        return (0..<sae.dIn).sorted { (row[$0], $1) > (row[$1], $0) }.prefix(count).map {
            .init(index: $0, value: Double(row[$0]), share: sum > 0 ? Double(abs(row[$0])) / sum : 0)
        }
    }
}

/// Sums over all scored tokens, silent ones as 0, for correlations.
struct ActivationMoments {
    /// Scored tokens.
    let tokens: Double
    /// [F] tokens on which each fires.
    let counts: [Int]
    /// [F] Σ f.
    let sums: [Double]
    /// [F] Σ f².
    let squares: [Double]
    /// [S·T + 1] first entry of each token.
    let starts: [Int]

    init(_ fired: FiredEntries) {
        var (counts, sums) = (
            [Int](repeating: 0, count: fired.latentCount), [Double](repeating: 0, count: fired.latentCount)
        )
        var squares = sums
        var starts = [Int](repeating: 0, count: fired.sequenceCount * fired.length + 1)
        for e in fired.latents.indices {
            let (j, f) = (Int(fired.latents[e]), Double(fired.activations[e]))
            counts[j] += 1
            sums[j] += f
            squares[j] += f * f
            starts[Int(fired.tokens[e]) + 1] += 1
        }
        for t in 1..<starts.count { starts[t] += starts[t - 1] }
        tokens = Double(fired.scoredTokens.reduce(0, +))
        (self.counts, self.sums, self.squares, self.starts) = (counts, sums, squares, starts)
    }

    /// Share of the scored tokens at which a latent fires.
    func frequency(of latent: Int) -> Double { Double(counts[latent]) / max(1, tokens) }
}

/// How one latent after the other goes with all; room for one.
final class CoactivationSums {
    private let moments: ActivationMoments
    private let fired: FiredEntries
    /// [F] Σ f_j f_k of the latent j that is looked at.
    private var products: [Double]

    init(_ moments: ActivationMoments, _ fired: FiredEntries) {
        (self.moments, self.fired) = (moments, fired)
        products = [Double](repeating: 0, count: fired.latentCount)
    }

    /// The latents that go with one which fires at `entries`, by Pearson's r; ties: lower index first. A latent that never fires, or
    /// always alike, goes with none.
    func correlated(with latent: Int, _ entries: ArraySlice<Int32>, _ count: Int) -> [LatentDashboard.Correlation] {
        var met: [Int] = []
        for e in entries.lazy.map({ Int($0) }) {
            let (t, own) = (Int(fired.tokens[e]), Double(fired.activations[e]))
            for other in moments.starts[t]..<moments.starts[t + 1] {
                let k = Int(fired.latents[other])
                if products[k] == 0 { met.append(k) }
                products[k] += own * Double(fired.activations[other])
            }
        }
        let n = moments.tokens
        func variance(_ k: Int) -> Double { n * moments.squares[k] - moments.sums[k] * moments.sums[k] }
        let found = met.compactMap { k -> LatentDashboard.Correlation? in
            let (product, spread) = (products[k], variance(latent) * variance(k))
            products[k] = 0
            guard k != latent, spread > 0 else { return nil }
            return .init(
                latent: k, pearson: (n * product - moments.sums[latent] * moments.sums[k]) / spread.squareRoot(),
                cosine: product / (moments.squares[latent] * moments.squares[k]).squareRoot())
        }
        return Array(found.sorted { ($0.pearson, $1.latent) > ($1.pearson, $0.latent) }.prefix(count))
    }
}
