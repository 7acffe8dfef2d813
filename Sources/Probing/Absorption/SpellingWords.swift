import LanguageModeling

/// A word that is one token of a vocabulary: ASCII letters, behind one space or none.
package struct SpellingWord: Sendable, Equatable {
    /// The space included.
    package let text: String
    /// Its first letter, a as 0 and z as 25, whatever its case.
    package let letter: Int

    /// The letters in the order of their numbers.
    package static let letters = Array("abcdefghijklmnopqrstuvwxyz").map(String.init)

    /// The word that these bytes spell; nil for anything else.
    package init?(_ bytes: [UInt8]) {
        let word = bytes.first == UInt8(ascii: " ") ? bytes.dropFirst() : bytes[...]
        let folded = word.map { $0 | 0x20 }
        guard let first = folded.first, zip(word, folded).allSatisfy({ $0 & 0x40 != 0 && Self.isLetter($1) }) else {
            return nil
        }
        text = String(decoding: bytes, as: UTF8.self)
        letter = Int(first - UInt8(ascii: "a"))
    }

    private static func isLetter(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) }

    /// All words of a tokenizer, by their ids: what SAEBench's `get_alpha_tokens` takes.
    package static func all(of tokenizer: Tokenizer) -> [SpellingWord] {
        (0..<Int32(tokenizer.vocabularySize)).compactMap { id in
            guard !tokenizer.specialTokens.contains(id), tokenizer.tokenString(id) != nil,
                let bytes = try? tokenizer.decode([id])
            else { return nil }
            return SpellingWord(bytes)
        }
    }
}
