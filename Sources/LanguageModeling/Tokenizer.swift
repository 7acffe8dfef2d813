import LinearAlgebra
import Synchronization

/// A byte-pair tokenizer: byte-level, as of GPT-2, SmolLM and their relatives, or of SentencePiece pieces, as of Gemma.
///
/// Text of any kind goes in, valid UTF-8 or not. Nothing is added to it: no token at the beginning or the end. Safe
/// to use from several threads at once.
public final class Tokenizer: Sendable {
    /// Where it was loaded from; for messages.
    public let path: String
    /// The token that ends a document in a packed text: `<|endoftext|>` where the vocabulary has it as an added
    /// token, otherwise the model's end-of-sequence token. Chat models name the end of a turn as their
    /// end-of-sequence; their training text was still packed with `<|endoftext|>`.
    public let endOfText: Int32?
    /// The token that a sequence begins with, where the model was trained so; `encode` does not add it.
    public let beginningOfText: Int32?
    /// Added tokens that stand for no text, such as `<|im_start|>`.
    public var specialTokens: Set<Int32> { vocabulary.special }
    /// One more than the highest token id.
    public var vocabularySize: Int { vocabulary.count }
    /// Bytes that the vocabulary has no token for; they are left out of what `encode` returns, as in the
    /// `tokenizers` library. Those of SmolLM2 are control characters and bytes that UTF-8 never uses.
    public let unspellableBytes: [UInt8]

    private let vocabulary: Vocabulary
    private let encoding: BytePairEncoding
    private let pattern: WordPattern
    private let textTokens: AddedTokens
    private let allTokens: AddedTokens
    /// Idle encoders with their caches: one per thread that ever encoded at the same time as others.
    private let encoders = Mutex<[WordEncoder]>([])

    init(
        path: String, vocabulary: Vocabulary, encoding: BytePairEncoding, pattern: WordPattern, endOfSequence: Int32?,
        beginningOfText: Int32? = nil
    ) {
        self.beginningOfText = beginningOfText
        self.path = path
        self.vocabulary = vocabulary
        self.encoding = encoding
        self.pattern = pattern
        let endOfText = vocabulary.id("<|endoftext|>")
        self.endOfText = endOfText.flatMap { vocabulary.added.contains($0) ? $0 : nil } ?? endOfSequence
        unspellableBytes = (0...255).filter { encoding.alphabet.bytes[Int($0)] < 0 }
        textTokens = AddedTokens(vocabulary.added.subtracting(vocabulary.special), in: vocabulary)
        allTokens = AddedTokens(vocabulary.added, in: vocabulary)
    }

    /// Token ids of a text.
    ///
    /// With `allowSpecial`, the spelling of a special token in the text becomes that token; without, it is text like
    /// any other, which is what a corpus needs. Added tokens that are not special are always recognised.
    public func encode(_ text: String, allowSpecial: Bool = false) -> [Int32] {
        var text = text
        return text.withUTF8 { encode($0, allowSpecial: allowSpecial) }
    }

    /// Token ids of bytes that need not be UTF-8: a byte that belongs to no character counts as punctuation.
    public func encode(bytes: [UInt8], allowSpecial: Bool = false) -> [Int32] {
        bytes.withUnsafeBufferPointer { encode($0, allowSpecial: allowSpecial) }
    }

    /// Token ids of each text, on all lanes; the same as one by one.
    public func encode(documents: [[UInt8]], allowSpecial: Bool = false) -> [[Int32]] {
        // Cut where the bytes are halved, not the documents: one may be as long as all others together.
        var bounds = [0]
        var seen = 0
        let total = documents.reduce(0) { $0 + $1.count }
        for (index, document) in documents.enumerated() {
            seen += document.count
            if seen * Lanes.shared.count >= total * bounds.count { bounds.append(index + 1) }
        }
        bounds[bounds.count - 1] = documents.count
        let cuts = bounds
        var result = [[Int32]](repeating: [], count: documents.count)
        result.withUnsafeMutableBufferPointer { result in
            nonisolated(unsafe) let result = result
            Lanes.shared.forRanges(cuts.count - 1) { _, parts in
                for part in parts {
                    for index in cuts[part]..<cuts[part + 1] {
                        result[index] = encode(bytes: documents[index], allowSpecial: allowSpecial)
                    }
                }
            }
        }
        return result
    }

    /// The bytes that the tokens stand for, one after the other.
    ///
    /// Throws `TextError.unknownToken`.
    public func decode(_ tokens: [Int32]) throws -> [UInt8] {
        var result: [UInt8] = []
        for token in tokens {
            guard let bytes = bytes(of: token) else {
                throw TextError.unknownToken(id: token, vocabularySize: vocabularySize)
            }
            result += bytes
        }
        return result
    }

    /// The text that the tokens stand for; bytes that are not UTF-8, as where a character was cut in two, show as
    /// U+FFFD.
    ///
    /// Throws `TextError.unknownToken`.
    public func decodeText(_ tokens: [Int32]) throws -> String {
        String(decoding: try decode(tokens), as: UTF8.self)
    }

    /// How the vocabulary spells a token, such as "Ġthe"; nil if no token has this id.
    public func tokenString(_ id: Int32) -> String? {
        vocabulary.spellings.indices.contains(Int(id)) ? vocabulary.spellings[Int(id)] : nil
    }

    /// The id of the token spelled so; nil if there is none.
    public func token(_ spelling: String) -> Int32? { vocabulary.id(spelling) }

    private func bytes(of token: Int32) -> [UInt8]? {
        tokenString(token) == nil ? nil : vocabulary.bytes[Int(token)]
    }

    private func encode(_ bytes: UnsafeBufferPointer<UInt8>, allowSpecial: Bool) -> [Int32] {
        var encoder = encoders.withLock { $0.popLast() } ?? WordEncoder(encoding: encoding, pattern: pattern)
        defer { encoders.withLock { [encoder] in $0.append(encoder) } }
        var output: [Int32] = []
        output.reserveCapacity(bytes.count / 4)
        let recognised = allowSpecial ? allTokens : textTokens
        var position = 0
        while !recognised.isEmpty, let found = recognised.first(in: bytes, from: position) {
            encoder.encode(UnsafeBufferPointer(rebasing: bytes[position..<found.range.lowerBound]), into: &output)
            output.append(found.id)
            position = found.range.upperBound
        }
        encoder.encode(UnsafeBufferPointer(rebasing: bytes[position...]), into: &output)
        return output
    }
}

/// Encodes text between added tokens, word by word, with memory and a cache of its own.
private struct WordEncoder {
    let encoding: BytePairEncoding
    let pattern: WordPattern
    private var cache = WordCache()
    private var scratch = WordScratch()

    init(encoding: BytePairEncoding, pattern: WordPattern) {
        self.encoding = encoding
        self.pattern = pattern
    }

    mutating func encode(_ bytes: UnsafeBufferPointer<UInt8>, into output: inout [Int32]) {
        pattern.forEachWord(bytes) { range in
            let word = UnsafeBufferPointer(rebasing: bytes[range])
            guard let key = WordCache.key(word) else {
                encoding.encode(word, into: &output, &scratch)
                return
            }
            if cache.find(key, into: &output) { return }
            let start = output.count
            encoding.encode(word, into: &output, &scratch)
            cache.store(key, output[start...])
        }
    }
}
