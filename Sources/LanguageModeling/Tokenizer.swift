import LinearAlgebra
import Synchronization

/// A byte-pair tokenizer: byte-level, as of GPT-2, SmolLM and their relatives, or of SentencePiece pieces, as of Gemma.
///
/// Text of any kind goes in, valid UTF-8 or not. No token is added at the beginning or the end; a space in front, where the
/// model was trained so (Llama 2), is. Safe to use from several threads at once.
public final class Tokenizer: Sendable {
    /// Where it was loaded from; for messages.
    public let path: String
    /// The token that ends a document in a packed text: `<|endoftext|>` where the vocabulary has it as an added
    /// token, otherwise the model's end-of-sequence token. Chat models name the end of a turn as their
    /// end-of-sequence; their training text was still packed with `<|endoftext|>`.
    public let endOfText: Int32?
    /// The token that a sequence begins with, where the model was trained so; `encode` does not add it.
    public let beginningOfText: Int32?
    /// The beginning-of-sequence token that the model names, whether sequences begin with it or not.
    public let beginningToken: Int32?
    /// Added tokens that stand for no text, such as `<|im_start|>`.
    public var specialTokens: Set<Int32> { vocabulary.special }
    /// One more than the highest token id.
    public var vocabularySize: Int { vocabulary.count }
    /// Bytes that the vocabulary has no token for; they are left out of what `encode` returns, as in the
    /// `tokenizers` library. Those of SmolLM2 are control characters and bytes that UTF-8 never uses.
    public let unspellableBytes: [UInt8]

    private let vocabulary: Vocabulary
    private let encoding: BytePairEncoding
    private let preparation: TextPreparation
    /// Added tokens that are found in the text as it came, and those that are found in the normalised text.
    private let addedTokens: (plain: AddedTokens, normalized: AddedTokens)
    /// Idle encoders with their caches: one per thread that ever encoded at the same time as others.
    private let encoders = Mutex<[WordEncoder]>([])

    /// `normalized` are the added tokens that are found in the normalised text only.
    init(
        path: String, vocabulary: Vocabulary, encoding: BytePairEncoding, preparation: TextPreparation,
        normalized: Set<Int32> = [], ends: TextEnds
    ) {
        beginningOfText = ends.begins ? ends.beginning.map(Int32.init) : nil
        beginningToken = ends.beginning.map(Int32.init)
        self.path = path
        self.vocabulary = vocabulary
        self.encoding = encoding
        self.preparation = preparation
        let endOfText = vocabulary.id("<|endoftext|>")
        self.endOfText = endOfText.flatMap { vocabulary.added.contains($0) ? $0 : nil } ?? ends.end.map(Int32.init)
        unspellableBytes = (0...255).filter { encoding.alphabet.bytes[Int($0)] < 0 }
        func tokens(_ ids: Set<Int32>, _ text: ([UInt8]) -> [UInt8]) -> AddedTokens {
            AddedTokens(
                ids.map { id in
                    .init(
                        text: text(Array(vocabulary.spellings[Int(id)]!.utf8)), id: id,
                        isSpecial: vocabulary.special.contains(id))
                })
        }
        addedTokens = (
            tokens(vocabulary.added.subtracting(normalized)) { $0 },
            tokens(normalized) { text in text.withUnsafeBufferPointer { preparation.normalization.apply($0) ?? text } }
        )
    }

    /// Token ids of a text.
    ///
    /// With `allowSpecial`, the spelling of a special token in the text becomes that token; without, it is text like
    /// any other, which is what a corpus needs. Added tokens that are not special are always recognised.
    public func encode(_ text: String, allowSpecial: Bool = false) -> [Int32] {
        var text = text
        return text.withUTF8 { encode($0, allowSpecial: allowSpecial, continues: false) }
    }

    /// Token ids of bytes that need not be UTF-8: a byte that belongs to no character counts as punctuation.
    public func encode(bytes: [UInt8], allowSpecial: Bool = false) -> [Int32] {
        bytes.withUnsafeBufferPointer { encode($0, allowSpecial: allowSpecial, continues: false) }
    }

    /// Token ids of each text, on all lanes; the same as one by one.
    public func encode(documents: [[UInt8]], allowSpecial: Bool = false) -> [[Int32]] {
        encode(
            pieces: documents.map { TextPiece(bytes: $0, beginsDocument: true, endsDocument: true) },
            allowSpecial: allowSpecial)
    }

    /// Token ids of each piece of a corpus, on all lanes.
    func encode(pieces documents: [TextPiece], allowSpecial: Bool) -> [[Int32]] {
        // Cut where the bytes are halved, not the documents: one may be as long as all others together.
        var bounds = [0]
        var seen = 0
        let total = documents.reduce(0) { $0 + $1.bytes.count }
        for (index, document) in documents.enumerated() {
            seen += document.bytes.count
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
                        result[index] = documents[index].bytes.withUnsafeBufferPointer {
                            encode($0, allowSpecial: allowSpecial, continues: !documents[index].beginsDocument)
                        }
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

    /// The token to begin a sequence with; `begins` says whether, nil for as the model was trained.
    ///
    /// Throws `TextError.noBeginningOfText` where there is to be one and the model names none.
    public func beginning(_ begins: Bool?) throws -> Int32? {
        guard let begins else { return beginningOfText }
        if begins, beginningToken == nil { throw TextError.noBeginningOfText(file: path) }
        return begins ? beginningToken : nil
    }

    /// The id of the token spelled so; nil if there is none.
    public func token(_ spelling: String) -> Int32? { vocabulary.id(spelling) }

    private func bytes(of token: Int32) -> [UInt8]? {
        tokenString(token) == nil ? nil : vocabulary.bytes[Int(token)]
    }

    /// - Parameter continues: whether the text goes on with one that was encoded before, so that nothing belongs in front of it.
    private func encode(_ text: UnsafeBufferPointer<UInt8>, allowSpecial: Bool, continues: Bool) -> [Int32] {
        var encoder =
            encoders.withLock { $0.popLast() } ?? WordEncoder(encoding: encoding, pattern: preparation.pattern)
        defer { encoders.withLock { [encoder] in $0.append(encoder) } }
        var output: [Int32] = []
        output.reserveCapacity(text.count / 4)
        addedTokens.plain.forEachStretch(of: text, allowSpecial: allowSpecial) { range, token in
            let isFirst = range.lowerBound == 0
            let stretch = UnsafeBufferPointer(rebasing: text[range])
            preparation.normalization.withNormalized(stretch, continues: continues && isFirst) { stretch in
                addedTokens.normalized.forEachStretch(of: stretch, allowSpecial: allowSpecial) { range, token in
                    let begins = isFirst && range.lowerBound == 0
                    preparation.withPrefix(
                        UnsafeBufferPointer(rebasing: stretch[range]), begins: begins, continues: begins && continues
                    ) { encoder.encode($0, into: &output) }
                    if let token { output.append(token) }
                }
            }
            if let token { output.append(token) }
        }
        return output
    }
}

/// What a model puts at the ends of texts.
struct TextEnds {
    /// The end-of-sequence token.
    var end: Int?
    /// The beginning-of-sequence token.
    var beginning: Int?
    /// Whether texts begin with it.
    var begins: Bool
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
        if pattern.isNone, let token = encoding.wholeWord(bytes) { return output.append(token) }
        pattern.forEachWord(bytes) { range in
            let word = UnsafeBufferPointer(rebasing: bytes[range])
            guard let key = WordCache.key(word) else { return encode(word: word, into: &output) }
            if cache.find(key, into: &output) { return }
            let start = output.count
            encode(word: word, into: &output)
            cache.store(key, output[start...])
        }
    }

    private mutating func encode(word: UnsafeBufferPointer<UInt8>, into output: inout [Int32]) {
        if !pattern.isNone, let token = encoding.wholeWord(word) { return output.append(token) }
        encoding.encode(word, into: &output, &scratch)
    }
}
