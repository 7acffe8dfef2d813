/// Finds added tokens in text: at each place the longest, from left to right, as the `tokenizers` library does.
struct AddedTokens: Sendable {
    private let tokens: [(text: [UInt8], id: Int32)]
    private let beginsOne: [Bool]

    init(_ ids: some Sequence<Int32>, in vocabulary: Vocabulary) {
        // Longest first, so that the first match is the longest; the id only makes the order definite.
        tokens = ids.map { (vocabulary.bytes[Int($0)], $0) }.filter { !$0.0.isEmpty }
            .sorted { ($1.0.count, $0.1) < ($0.0.count, $1.1) }
        var begins = [Bool](repeating: false, count: 256)
        for token in tokens { begins[Int(token.text[0])] = true }
        beginsOne = begins
    }

    var isEmpty: Bool { tokens.isEmpty }

    /// The first occurrence that begins at `start` or later.
    func first(in bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> (range: Range<Int>, id: Int32)? {
        for position in start..<bytes.count where beginsOne[Int(bytes[position])] {
            for token in tokens where bytes[position...].starts(with: token.text) {
                return (position..<position + token.text.count, token.id)
            }
        }
        return nil
    }
}
