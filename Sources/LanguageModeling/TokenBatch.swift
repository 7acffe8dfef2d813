/// Token ids `[B, T]`: B sequences of T tokens each, without padding.
public struct TokenBatch: Sendable, Equatable {
    /// The ids, sequence after sequence.
    public let ids: [Int32]
    /// B, the sequences.
    public let sequenceCount: Int
    /// T, tokens of each.
    public let length: Int

    /// `ids` cut into `sequenceCount` sequences of `length` tokens.
    public init(ids: [Int32], sequenceCount: Int, length: Int) {
        precondition(
            length > 0 && sequenceCount >= 0 && ids.count == sequenceCount * length,
            "\(ids.count) ids for \(sequenceCount) sequences of \(length)")
        self.ids = ids
        self.sequenceCount = sequenceCount
        self.length = length
    }

    /// A batch of one sequence.
    public init(_ ids: [Int32]) { self.init(ids: ids, sequenceCount: 1, length: ids.count) }

    /// Some of the sequences.
    public func sequences(_ range: Range<Int>) -> TokenBatch {
        TokenBatch(
            ids: Array(ids[(range.lowerBound * length)..<(range.upperBound * length)]), sequenceCount: range.count,
            length: length)
    }

    /// Every sequence cut into pieces of `window` tokens, each a sequence of its own; what is left over at an end is dropped.
    public func windows(of window: Int) -> TokenBatch {
        precondition((1...length).contains(window), "windows of \(window) tokens in sequences of \(length)")
        let pieces = length / window
        let ids = (0..<sequenceCount).flatMap { s in self.ids[s * length..<s * length + pieces * window] }
        return TokenBatch(ids: ids, sequenceCount: sequenceCount * pieces, length: window)
    }

    /// B·T, all tokens.
    public var tokenCount: Int { ids.count }

    /// What each position is to predict: the next id of its sequence, −1 at the last position.
    package var targets: [Int32] {
        (0..<tokenCount).map { $0 % length == length - 1 ? -1 : ids[$0 + 1] }
    }
}
