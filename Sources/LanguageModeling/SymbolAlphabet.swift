/// The tokens that a text consists of before any merge: one for each byte, or one for each character that has one and the bytes
/// of those that have none (SentencePiece's byte fallback).
struct SymbolAlphabet: Sendable {
    /// Token of each byte; −1 for one that the vocabulary cannot spell. Such a byte is left out, and its neighbours become
    /// adjacent, as in the `tokenizers` library.
    let bytes: [Int32]
    /// Tokens of characters; nil where bytes are all there is.
    private let characters: [Unicode.Scalar: Int32]?

    /// Bytes alone.
    init(bytes: [Int32]) {
        self.bytes = bytes
        characters = nil
    }

    /// Characters, and bytes for the rest. A space is spelled `▁`.
    init(bytes: [Int32], characters: [Unicode.Scalar: Int32]) {
        self.bytes = bytes
        var characters = characters
        characters[" "] = characters["\u{2581}"]
        self.characters = characters
    }

    /// Appends the tokens of what stands at `position`; returns how many bytes that is.
    @inline(__always)
    func append(_ text: UnsafeBufferPointer<UInt8>, at position: Int, to tokens: inout [Int32]) -> Int {
        guard let characters else {
            appendByte(text[position], to: &tokens)
            return 1
        }
        let (scalar, length) = Self.scalar(text, at: position)
        if let scalar, let token = characters[scalar] {
            tokens.append(token)
        } else {
            for i in 0..<length { appendByte(text[position + i], to: &tokens) }
        }
        return length
    }

    @inline(__always)
    private func appendByte(_ byte: UInt8, to tokens: inout [Int32]) {
        if bytes[Int(byte)] >= 0 { tokens.append(bytes[Int(byte)]) }
    }

    /// The character at `position` and its length; nil and 1 for a byte that belongs to none.
    static func scalar(_ text: UnsafeBufferPointer<UInt8>, at position: Int) -> (Unicode.Scalar?, Int) {
        let first = text[position]
        if first < 0x80 { return (Unicode.Scalar(first), 1) }
        let length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2
        guard first >= 0xC2, first < 0xF5, position + length <= text.count else { return (nil, 1) }
        var value = UInt32(first & (0x7F >> UInt8(length)))
        for i in 1..<length {
            guard text[position + i] & 0xC0 == 0x80 else { return (nil, 1) }
            value = value << 6 | UInt32(text[position + i] & 0x3F)
        }
        // Longer than need be, a surrogate, or beyond the last character.
        guard value >= (length == 3 ? 0x800 : length == 4 ? 0x10000 : 0), let scalar = Unicode.Scalar(value) else {
            return (nil, 1)
        }
        return (scalar, length)
    }
}
