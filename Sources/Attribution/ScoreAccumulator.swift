import LinearAlgebra

/// Collects each latent's scores over a scoring pass and aggregates them, A [m].
///
/// A quantile over N tokens needs only the largest N − ⌊(N−1)q⌋ scores of a latent: at q = 0.99 one in a hundred.
/// That tail is kept exactly; everything else is a running sum. Zeros are counted, never stored. Where tails would take
/// more memory than allowed they become histograms, and results are then to a stated error.
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
    /// One a latent, once tails were too much.
    private var histograms: [ScoreHistogram]?
    private let mostKept: Int
    private let mostTokens: Int
    private var kept = 0

    /// Bytes of scores that are kept exactly unless said otherwise.
    public static let standardMemory = 2 << 30

    /// An accumulator for `latents` candidates over at most `tokens` tokens that keeps scores exactly as far as they
    /// fit into `memory` bytes.
    public init(
        latents: Int, tokens: Int, aggregate: Aggregate = .standard, scope: AggregateScope = .all,
        isSigned: Bool = false, memory: Int = ScoreAccumulator.standardMemory
    ) {
        mostKept = memory / MemoryLayout<Float>.stride
        mostTokens = tokens
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
        // Over active tokens the count of a latent is not known beforehand, and a trimmed mean needs both ends and what
        // is between: all scores are kept.
        case .quantile, .trimmedMean: tailLimit = Int.max
        case .mean, .rootMeanSquare, .maximum: tailLimit = 0
        }
        tails = [[Float]](repeating: [], count: tailLimit > 0 ? latents : 0)
    }

    /// What the scores that are kept may take, at most as much as was allowed.
    public var memory: MemoryNeed {
        let latents = activeCounts.count
        var need = MemoryNeed(
            "keeping scores of \(latents) latents on \(mostTokens) tokens needs", advice: "lower --score-memory")
        let most = tailLimit < Int.max / 4 ? min(mostTokens, 2 * tailLimit + 64) : mostTokens
        let (all, overflow) = latents.multipliedReportingOverflow(by: tailLimit > 0 ? most : 0)
        need.add("scores", MemoryLayout<Float>.stride, overflow ? mostKept : min(all, mostKept))
        return need
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
            if histograms != nil {
                histograms?[j].add(score)
            } else if tailLimit > 0 {
                tails[j].append(score)
                kept += 1
                if tailLimit < Int.max / 2 && tails[j].count >= 2 * tailLimit + 64 { trim(j) }
                if kept > mostKept { becomeHistograms() }
            }
        }
    }

    /// The largest relative error that results have because not all scores were kept; 0 where they were.
    public var relativeError: Double { histograms == nil ? 0 : ScoreHistogram.error }

    /// From here on scores are counted instead of kept. What a trimmed tail has lost is below every rank
    /// that is asked for.
    private func becomeHistograms() {
        guard histograms == nil else { return }
        var made = [ScoreHistogram](repeating: ScoreHistogram(), count: tails.count)
        for j in tails.indices {
            for score in tails[j] { made[j].add(score) }
            tails[j] = []
        }
        histograms = made
        kept = 0
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
        case .quantile(let q): return ordered(j, zeros: count - active).quantile(q, count: count)
        case .trimmedMean(let p): return ordered(j, zeros: count - active).trimmedMean(p, count: count)
        }
    }

    private func ordered(_ j: Int, zeros: Int) -> OrderedScores {
        guard let histograms else { return OrderedScores(tails[j].sorted(by: >), zeros: zeros) }
        let (values, counts) = histograms[j].descending
        return OrderedScores(values[...], zeros: zeros) { counts[$0] }
    }

    private func trim(_ j: Int) {
        tails[j].sort(by: >)
        kept -= tails[j].count - tailLimit
        tails[j].removeLast(tails[j].count - tailLimit)
    }
}
