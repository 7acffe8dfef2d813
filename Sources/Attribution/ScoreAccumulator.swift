import LinearAlgebra

/// Collects each latent's scores over a scoring pass and aggregates them, A [m].
///
/// A quantile over N tokens needs only the largest N − ⌊(N−1)q⌋ scores of a latent: at q = 0.99 one in a hundred.
/// That tail is kept exactly; everything else is a running sum. Zeros are counted, never stored.
public final class ScoreAccumulator {
    /// How scores become one number.
    public let aggregate: Aggregate
    /// Over which tokens.
    public let scope: AggregateScope
    /// Whether signs are kept; otherwise |score| is aggregated.
    public let isSigned: Bool
    /// Scored tokens so far.
    public private(set) var tokenCount = 0
    /// [m] tokens at which each latent fired.
    public private(set) var activeCounts: [Int]
    private var sums: [Double]
    private var squares: [Double]
    private var largest: [Float]
    private var tails: [[Float]]
    private let tailLimit: Int

    /// An accumulator for `latents` candidates over at most `tokens` tokens.
    public init(
        latents: Int, tokens: Int, aggregate: Aggregate = .standard, scope: AggregateScope = .all,
        isSigned: Bool = false
    ) {
        self.aggregate = aggregate
        self.scope = scope
        self.isSigned = isSigned
        activeCounts = [Int](repeating: 0, count: latents)
        sums = [Double](repeating: 0, count: latents)
        squares = sums
        largest = [Float](repeating: -.infinity, count: latents)
        switch aggregate {
        case .quantile(let q) where scope == .all:
            tailLimit = tokens - Int((Double(max(tokens, 1) - 1) * q).rounded(.down))
        // Over active tokens the count of a latent is not known beforehand, and a trimmed mean needs both ends and what is
        // between: all scores are kept.
        case .quantile, .trimmedMean: tailLimit = Int.max
        case .mean, .rootMeanSquare, .maximum: tailLimit = 0
        }
        tails = [[Float]](repeating: [], count: tailLimit > 0 ? latents : 0)
    }

    /// Adds the scores of a batch, parallel to the entries of `codes`, with `tokens` scored tokens in it.
    public func add(_ codes: SparseCodes, _ scores: UnsafeBufferPointer<Float>, tokens: Int) {
        tokenCount += tokens
        for e in 0..<codes.count {
            let j = Int(codes.columnIndices[e])
            let score = isSigned ? scores[e] : abs(scores[e])
            activeCounts[j] += 1
            sums[j] += Double(score)
            squares[j] += Double(score) * Double(score)
            largest[j] = max(largest[j], score)
            if tailLimit > 0 {
                tails[j].append(score)
                if tailLimit < Int.max / 2 && tails[j].count >= 2 * tailLimit + 64 { trim(j) }
            }
        }
    }

    /// Counts a batch of a scorer that gives no scores of tokens.
    public func count(_ codes: SparseCodes, tokens: Int) {
        tokenCount += tokens
        for e in 0..<codes.count { activeCounts[Int(codes.columnIndices[e])] += 1 }
    }

    /// Adds what another pass, or an earlier part of this one, counted of a scorer that gives no scores of tokens.
    public func count(_ counts: [Int], tokens: Int) {
        tokenCount += tokens
        for j in activeCounts.indices { activeCounts[j] += counts[j] }
    }

    /// A [m]; a latent that never fired has 0.
    public func result() -> [Double] { (0..<activeCounts.count).map(value) }

    private func value(_ j: Int) -> Double {
        let active = activeCounts[j]
        let count = scope == .all ? tokenCount : active
        guard active > 0, count > 0 else { return 0 }
        switch aggregate {
        case .mean: return sums[j] / Double(count)
        case .rootMeanSquare: return (squares[j] / Double(count)).squareRoot()
        case .maximum: return Double(active < count ? max(largest[j], 0) : largest[j])
        case .quantile(let q):
            return OrderedScores(tails[j].sorted(by: >), zeros: count - active).quantile(q, count: count)
        case .trimmedMean(let p):
            return OrderedScores(tails[j].sorted(by: >), zeros: count - active).trimmedMean(p, count: count)
        }
    }

    private func trim(_ j: Int) {
        tails[j].sort(by: >)
        tails[j].removeLast(tails[j].count - tailLimit)
    }
}
