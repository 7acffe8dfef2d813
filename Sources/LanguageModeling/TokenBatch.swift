/// Token ids `[B, T]`: B sequences of T tokens each. Of shorter ones the rest of the row is padding, which stands behind all tokens, so
/// that no attention sees it, and has no loss.
public struct TokenBatch: Sendable, Equatable {
    /// The ids, sequence after sequence.
    public let ids: [Int32]
    /// B, the sequences.
    public let sequenceCount: Int
    /// T, tokens of each.
    public let length: Int
    /// `[B]` tokens of each sequence that are no padding; nil where all are T.
    public let counts: [Int]?

    /// `ids` cut into `sequenceCount` sequences of `length` tokens.
    public init(ids: [Int32], sequenceCount: Int, length: Int) {
        self.init(ids: ids, counts: [Int](repeating: length, count: sequenceCount), length: length)
    }

    /// `ids` in rows of `length`, of which the first `counts` are tokens and the others padding.
    public init(ids: [Int32], counts: [Int], length: Int) {
        precondition(
            length > 0 && ids.count == counts.count * length && counts.allSatisfy { (1...length).contains($0) },
            "\(ids.count) ids for \(counts.count) sequences of \(length)")
        self.ids = ids
        sequenceCount = counts.count
        self.length = length
        self.counts = counts.allSatisfy { $0 == length } ? nil : counts
    }

    /// A batch of one sequence.
    public init(_ ids: [Int32]) { self.init(ids: ids, sequenceCount: 1, length: ids.count) }

    /// Some of the sequences.
    public func sequences(_ range: Range<Int>) -> TokenBatch { sequences(Array(range)) }

    /// Some of the sequences, any of them more than once.
    package func sequences(_ chosen: [Int]) -> TokenBatch {
        TokenBatch(
            ids: chosen.flatMap { ids[$0 * length..<($0 + 1) * length] },
            counts: chosen.map { counts?[$0] ?? length }, length: length)
    }

    /// Every sequence cut into pieces of `window` tokens, each a sequence of its own; what is left over at an end is dropped, and pieces of
    /// nothing but padding are.
    public func windows(of window: Int) -> TokenBatch {
        precondition((1...length).contains(window), "windows of \(window) tokens in sequences of \(length)")
        var result: (ids: [Int32], counts: [Int]) = ([], [])
        for s in 0..<sequenceCount {
            let count = counts?[s] ?? length
            for first in stride(from: 0, through: length - window, by: window) where first < count {
                result.ids += ids[s * length + first..<s * length + first + window]
                result.counts.append(min(window, count - first))
            }
        }
        return TokenBatch(ids: result.ids, counts: result.counts, length: window)
    }

    /// B·T, all positions.
    public var tokenCount: Int { ids.count }

    /// Positions of padding.
    public var paddingCount: Int { counts.map { ids.count - $0.reduce(0, +) } ?? 0 }

    /// Whether a position of the batch is padding.
    public func isPadding(_ position: Int) -> Bool {
        guard let counts else { return false }
        return position % length >= counts[position / length]
    }

    /// What each position is to predict: the next id of its sequence, −1 at the last position and in padding.
    package var targets: [Int32] {
        (0..<tokenCount).map {
            $0 % length == (counts?[$0 / length] ?? length) - 1 || isPadding($0) ? -1 : ids[$0 + 1]
        }
    }

    /// The ids, −1 in padding.
    package var idsOrPadding: [Int32] {
        counts == nil ? ids : ids.indices.map { isPadding($0) ? -1 : ids[$0] }
    }

    /// First token of each document, and the number of tokens. A document begins with a sequence, after a token that ends a
    /// text, and with one that begins a text and does not end one. Padding belongs to the document before it.
    package func documentOffsets(_ configuration: ModelConfiguration) -> [Int64] {
        let ends = Set(configuration.endTokenIds.map { Int32(truncatingIfNeeded: $0) })
        let beginning = configuration.beginningTokenId.map { Int32(truncatingIfNeeded: $0) }
        let starts = ids.indices.filter { position in
            if position % length == 0 { return true }
            if isPadding(position) { return false }
            let id = ids[position]
            return ends.contains(ids[position - 1]) || id == beginning && !ends.contains(id)
        }
        return (starts + [ids.count]).map(Int64.init)
    }
}
