/// Finds added tokens in text: at each place the longest, from left to right, as the `tokenizers` library does.
struct AddedTokens: Sendable {
    /// By the first byte.
    private let tokens: [[(text: [UInt8], id: Int32)]]
    /// Whether there are none.
    let isEmpty: Bool

    init(_ ids: some Sequence<Int32>, in vocabulary: Vocabulary) {
        // Longest first, so that the first match is the longest; the id only makes the order definite.
        let sorted = ids.map { (text: vocabulary.bytes[Int($0)], id: $0) }.filter { !$0.text.isEmpty }
            .sorted { ($1.text.count, $0.id) < ($0.text.count, $1.id) }
        isEmpty = sorted.isEmpty
        var byFirst = [[(text: [UInt8], id: Int32)]](repeating: [], count: 256)
        for token in sorted { byFirst[Int(token.text[0])].append(token) }
        tokens = byFirst
    }

    /// The first occurrence that begins at `start` or later.
    func first(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> (range: Range<Int>, id: Int32)? {
        for position in start..<bytes.count {
            for token in tokens[Int(bytes[position])] where bytes[position...].starts(with: token.text) {
                return (position..<position + token.text.count, token.id)
            }
        }
        return nil
    }
}
