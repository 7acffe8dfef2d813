import SparseCoding

/// The mean of every candidate's activation over the scored tokens of a whole pass, gathered when it is first asked
/// for: that takes the model up to the hook over every sequence, which most scorers have no use for.
public final class MeanActivations {
    /// Means [m], silent tokens as 0, and how many tokens they are over.
    public struct Values: Equatable, Sendable {
        /// [m] mean activations over the pass.
        public var means: [Double]
        /// Scored tokens of the pass.
        public var scoredTokens: Int

        /// Means over so many tokens.
        public init(means: [Double], scoredTokens: Int) {
            self.means = means
            self.scoredTokens = scoredTokens
        }
    }

    private let gather: () throws -> Values
    private var known: Values?

    /// Means that `gather` finds.
    public init(_ gather: @escaping () throws -> Values) { self.gather = gather }

    /// Means over `sequences` sequences, of which `sample` gives the ones asked for; a few at a time, as many as
    /// `step`. Calls `progress` with the tokens of each.
    public convenience init(
        _ spliced: SplicedModel, sequences: Int, step: Int, progress: @escaping (Int) throws -> Void = { _ in },
        sample: @escaping (Range<Int>) throws -> SpliceSample
    ) {
        self.init {
            var sums = [Double](repeating: 0, count: spliced.candidateCount)
            var scored = 0
            for first in stride(from: 0, to: sequences, by: step) {
                let next = try sample(first..<min(first + step, sequences))
                let codes = try spliced.candidateCodes(of: next)
                for e in 0..<codes.count { sums[Int(codes.columnIndices[e])] += Double(codes.values[e]) }
                scored += next.replacedCount
                try progress(next.tokenCount)
            }
            return Values(means: sums.map { $0 / Double(max(1, scored)) }, scoredTokens: scored)
        }
    }

    /// What was gathered, now or before.
    ///
    /// - Throws: what the model throws.
    public func values() throws -> Values {
        if let known { return known }
        let values = try gather()
        known = values
        return values
    }
}
