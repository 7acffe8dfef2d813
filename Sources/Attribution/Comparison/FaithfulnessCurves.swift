import Foundation
import LanguageModeling
import LinearAlgebra

private func log2OnePlus(_ n: Int) -> Double { log2(1 + Double(n)) }

/// What becomes of the loss when only the top n latents of a ranking are kept in the spliced prefix, and when just
/// those are removed: a method that knows which latents matter makes the first fall fast and the second rise fast.
public final class FaithfulnessCurves {
    /// n: 0, the powers of 2 from `first` on, and the width.
    public let counts: [Int]
    private let spliced: SplicedModel
    private let samples: [(sample: SpliceSample, codes: SparseCodes, averaged: [UInt8])]

    /// Σ and number of averaged losses of each sequence.
    public struct SequenceLosses: Codable, Equatable, Sendable {
        /// [S] sums of the losses that enter, nats.
        public var sums: [Double] = []
        /// [S] how many losses enter.
        public var counts: [Int] = []

        package init(sums: [Double] = [], counts: [Int] = []) {
            self.sums = sums
            self.counts = counts
        }

        /// Mean over the sequences with their weights.
        public func mean(_ weights: [Int]) -> Double {
            var (sum, count) = (0.0, 0)
            for s in sums.indices {
                sum += Double(weights[s]) * sums[s]
                count += weights[s] * counts[s]
            }
            return count == 0 ? .nan : sum / Double(count)
        }
    }

    /// Curves on samples; `policy` says which losses are averaged.
    ///
    /// - Throws: what encoding throws; `AttributionError.nothingAveraged`, `.nothingReached`.
    public init(_ spliced: SplicedModel, samples: [SpliceSample], policy: SplicePolicy, from first: Int = 4) throws {
        self.spliced = spliced
        self.samples = try samples.map { ($0, try spliced.codes(of: $0), policy.averaged($0.tokens)) }
        var counts = [0]
        var n = first
        while n < spliced.splicedWidth {
            counts.append(n)
            n *= 2
        }
        self.counts = counts + [spliced.splicedWidth]
        guard averagedCounts.contains(where: { $0 > 0 }) else {
            throw AttributionError.nothingAveraged(tokens: tokenCount)
        }
        guard self.samples.contains(where: { $0.sample.reaches(losses: $0.averaged) }) else {
            throw AttributionError.nothingReached(tokens: tokenCount)
        }
    }

    /// The counts between none and all.
    var innerCounts: [Int] { Array(counts.dropFirst().dropLast()) }

    /// Tokens that the curves of so many methods run through the model.
    public func tokenCount(methods: Int) -> Int { (3 + methods * innerCounts.count * 2) * tokenCount }

    /// Sequences over all samples.
    public var sequenceCount: Int { samples.reduce(0) { $0 + $1.sample.tokens.sequenceCount } }

    /// [S] losses that enter the averages of each sequence.
    var averagedCounts: [Int] {
        samples.flatMap { sample, _, averaged in
            let length = sample.tokens.length
            return (0..<sample.tokens.sequenceCount).map { s in
                averaged[s * length..<(s + 1) * length].count { $0 != 0 }
            }
        }
    }

    /// Tokens that one point of a curve runs through the model.
    public var tokenCount: Int { samples.reduce(0) { $0 + $1.sample.tokenCount } }

    /// Losses with the model's own residual stream.
    ///
    /// - Throws: what the model throws.
    public func original() throws -> SequenceLosses {
        try gather { sample, _ in
            try self.spliced.model.losses(
                of: sample.tokens, residual: sample.residual, at: self.spliced.hook)
        }
    }

    /// Losses with only the first `n` latents of `ranking` kept, or (`removed`) with all but them.
    ///
    /// - Throws: what the model throws; `AttributionError.lossNotFinite`.
    public func losses(_ ranking: [Int], top n: Int, removed: Bool) throws -> SequenceLosses {
        var kept = [Bool](repeating: removed, count: spliced.splicedWidth)
        for j in ranking.prefix(n) { kept[j] = !removed }
        return try gather { try self.spliced.losses(of: $0, codes: $1, keeping: kept) }
    }

    private func gather(_ losses: (SpliceSample, SparseCodes) throws -> [Float]) throws -> SequenceLosses {
        var result = SequenceLosses()
        for (sample, codes, averaged) in samples {
            let values = try losses(sample, codes)
            let length = sample.tokens.length
            for s in 0..<sample.tokens.sequenceCount {
                var (sum, count) = (0.0, 0)
                for t in s * length..<(s + 1) * length where averaged[t] != 0 {
                    sum += Double(values[t])
                    count += 1
                }
                guard sum.isFinite else {
                    throw AttributionError.lossNotFinite(sequence: result.sums.count, value: sum)
                }
                result.sums.append(sum)
                result.counts.append(count)
            }
        }
        return result
    }
}

/// Losses at every n of one ranking.
public struct CurvePoints: Codable, Equatable, Sendable {
    /// Only the top n.
    public var kept: [FaithfulnessCurves.SequenceLosses]
    /// All but the top n.
    public var removed: [FaithfulnessCurves.SequenceLosses]

    /// Points in the order of the counts.
    public init(kept: [FaithfulnessCurves.SequenceLosses], removed: [FaithfulnessCurves.SequenceLosses]) {
        self.kept = kept
        self.removed = removed
    }

    /// Mean over x = log₂(1 + n)/log₂(1 + m), by trapezoids, of the loss as a share of the way from every latent (0) to
    /// none (1); `kept` turned round, so that 1 is best there too.
    package func areas(_ counts: [Int], _ weights: [Int]) -> (kept: Double, removed: Double) {
        let (none, every) = (kept[0].mean(weights), kept[kept.count - 1].mean(weights))
        let x = counts.map { log2OnePlus($0) / log2OnePlus(counts[counts.count - 1]) }
        func area(_ losses: [FaithfulnessCurves.SequenceLosses]) -> Double {
            let share = losses.map { ($0.mean(weights) - every) / (none - every) }
            return x.indices.dropFirst().reduce(0.0) {
                $0 + (x[$1] - x[$1 - 1]) * (share[$1] + share[$1 - 1]) / 2
            }
        }
        return (1 - area(kept), area(removed))
    }
}
