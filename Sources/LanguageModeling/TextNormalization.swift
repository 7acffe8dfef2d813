/// What is done to a text before it is cut into words, as `tokenizer.json`'s "normalizer" says.
///
/// Vocabularies of pieces spell a space as `▁`. Here it stays a space, and a `▁` in a text, which such a vocabulary cannot tell from
/// a space, becomes one.
struct TextNormalization: Sendable, Equatable {
    /// Whether characters are composed: Unicode's form C.
    var composes = false
    /// Whether every stretch of text between added tokens gets a space in front, even where it begins with one.
    var prepends = false
    /// Whether `▁` is a space.
    var spellsSpaces = false

    /// Calls `body` with the stretch of text as `apply` leaves it.
    @inline(__always)
    func withNormalized(
        _ text: UnsafeBufferPointer<UInt8>, continues: Bool, _ body: (UnsafeBufferPointer<UInt8>) -> Void
    ) {
        if let other = apply(text, continues: continues) { other.withUnsafeBufferPointer(body) } else { body(text) }
    }

    /// The stretch of text as the rest of the tokenizer sees it; nil where it stays as it is.
    ///
    /// - Parameter continues: whether the text before it is a part of the same stretch.
    func apply(_ text: UnsafeBufferPointer<UInt8>, continues: Bool = false) -> [UInt8]? {
        let prefix: [UInt8] = prepends && !continues && !text.isEmpty ? [0x20] : []
        let composed = composes ? CanonicalComposition.apply(text) : nil
        let hasMark = spellsSpaces && Self.firstMark(in: text, from: 0) != nil
        guard !prefix.isEmpty || composed != nil || hasMark else { return nil }
        let whole = prefix + (composed ?? Array(text))
        return hasMark ? Self.withSpaces(whole) : whole
    }

    /// U+2581.
    static let mark: [UInt8] = [0xE2, 0x96, 0x81]

    private static func firstMark(in text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
        var position = start
        while position + 2 < text.count {
            if text[position] == mark[0], text[position + 1] == mark[1], text[position + 2] == mark[2] {
                return position
            }
            position += 1
        }
        return nil
    }

    private static func withSpaces(_ text: [UInt8]) -> [UInt8] {
        text.withUnsafeBufferPointer { text in
            var result: [UInt8] = []
            result.reserveCapacity(text.count)
            var position = 0
            while let found = firstMark(in: text, from: position) {
                result += text[position..<found]
                result.append(0x20)
                position = found + 3
            }
            return result + text[position...]
        }
    }
}
