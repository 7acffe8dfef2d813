import LanguageModeling

/// The sequences of a pass at the hook point, made a few at a time.
public struct SampledSequences {
    /// How many there are, S.
    public let count: Int
    /// Tokens of each, T.
    public let length: Int
    /// Sequences of a sample; the last one may have fewer.
    public let step: Int
    private let make: (Range<Int>) throws -> SpliceSample

    /// The sequences of `tokens`, of which `make` runs the model up to the hook.
    public init(_ tokens: TokenBatch, step: Int, _ make: @escaping (TokenBatch) throws -> SpliceSample) {
        (count, length) = (tokens.sequenceCount, tokens.length)
        self.step = step
        self.make = { try make(tokens.sequences($0)) }
    }

    /// The sequences of samples that are in memory, at least one and of one size but for the last, which may have fewer sequences.
    public init(_ samples: [SpliceSample]) {
        precondition(!samples.isEmpty, "no samples")
        let step = samples[0].tokens.sequenceCount
        precondition(
            samples.dropLast().allSatisfy { $0.tokens.sequenceCount == step }
                && samples[samples.count - 1].tokens.sequenceCount <= step, "samples of unlike sizes")
        count = samples.reduce(0) { $0 + $1.tokens.sequenceCount }
        length = samples[0].tokens.length
        self.step = step
        make = { samples[$0.lowerBound / step] }
    }

    /// Tokens of all of them, S·T.
    public var tokenCount: Int { count * length }

    /// Some of the sequences.
    ///
    /// - Throws: what the model throws.
    public func sample(_ sequences: Range<Int>) throws -> SpliceSample { try make(sequences) }

    /// All of them, a sample after the other.
    ///
    /// - Throws: what the model throws.
    public func samples() throws -> [SpliceSample] {
        try stride(from: 0, to: count, by: step).map { try sample($0..<min($0 + step, count)) }
    }
}

/// Who looks on while a pass goes over its sequences.
public struct PassWatch: Sendable {
    /// Asked before each sample; throws to stop there.
    public var check: @Sendable () throws -> Void
    /// Told after it: tokens done since the last call, and a short reading.
    public var advance: @Sendable (_ tokens: Int, _ detail: String) -> Void

    /// Someone who checks and is told.
    public init(
        check: @escaping @Sendable () throws -> Void,
        advance: @escaping @Sendable (_ tokens: Int, _ detail: String) -> Void
    ) {
        self.check = check
        self.advance = advance
    }
}
