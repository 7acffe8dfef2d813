/// Token ids of sequences of equal length, one sequence after the other: `[sequenceCount, length]`.
public struct TokenBatch: Sendable {
    /// Row-major token ids.
    public let ids: [Int32]
    /// Number of sequences.
    public let sequenceCount: Int
    /// Tokens in each sequence.
    public let length: Int

    /// A batch of `sequenceCount` rows of `length` ids.
    public init(ids: [Int32], sequenceCount: Int, length: Int) {
        precondition(
            sequenceCount >= 0 && length > 0 && ids.count == sequenceCount * length,
            "\(ids.count) ids for \(sequenceCount) × \(length)")
        self.ids = ids
        self.sequenceCount = sequenceCount
        self.length = length
    }
}
