import Glibc
import TensorFiles

extension Tokenizer {
    /// The tokenizer of a model: a Hugging Face folder (its `tokenizer.json`), such a file itself, or a GGUF file.
    ///
    /// Throws `TextError` or `TensorFileError` for a file that cannot be read, is malformed or needs a step that is
    /// not known here; nothing of an unknown tokenizer is guessed.
    public static func load(path: String) throws -> Tokenizer {
        if path.hasSuffix(".gguf") { return try load(gguf: GGUFParts(path: path)) }
        if path.hasSuffix(".json") { return try load(json: path, folder: nil) }
        return try load(json: path + "/tokenizer.json", folder: path)
    }
}

/// Collects what the two formats have in common and checks it.
struct TokenizerBuilder {
    let path: String
    var vocabulary: Vocabulary
    private var pairs: [(left: Int32, right: Int32, merged: Int32)] = []

    /// For ids below `count`, which the caller has checked against the size of the file.
    init(path: String, count: Int, spelling: Vocabulary.Spelling = .byteLevel) {
        self.path = path
        vocabulary = Vocabulary(count: count, spelling: spelling)
        pairs.reserveCapacity(count)
    }

    mutating func insert(_ spelling: String, _ id: Int) throws {
        guard (0..<vocabulary.count).contains(id) else {
            throw malformed("token \"\(spelling)\" has id \(id), not below \(vocabulary.count)")
        }
        guard vocabulary.insert(spelling, Int32(id)) else {
            throw malformed("token \"\(spelling)\" or its id \(id) appears twice")
        }
    }

    mutating func add(_ text: String, _ id: Int, isSpecial: Bool) throws {
        guard (0..<vocabulary.count).contains(id), !text.isEmpty else {
            throw malformed("added token \"\(text)\" has id \(id), not below \(vocabulary.count), or no text")
        }
        guard vocabulary.add(text, Int32(id), isSpecial: isSpecial) else {
            throw malformed("added token \"\(text)\" with id \(id) is at odds with the vocabulary")
        }
    }

    /// Merges come in order of rank. As in GPT-2's files, the two parts may come joined by a space.
    mutating func merge(_ joined: String) throws {
        let parts = joined.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard parts.count == 2 else {
            throw malformed("merge \(pairs.count), \"\(joined)\", is not two tokens with a space between")
        }
        try merge(String(Substring(parts[0])), String(Substring(parts[1])))
    }

    mutating func merge(_ left: String, _ right: String) throws {
        guard let leftID = vocabulary.id(left), let rightID = vocabulary.id(right),
            let merged = vocabulary.id(left + right)
        else {
            throw malformed(
                "merge \(pairs.count), \"\(left)\" with \"\(right)\", has a part or a result that is not a token")
        }
        pairs.append((leftID, rightID, merged))
    }

    /// The tokenizer whose merges were added.
    ///
    /// - Parameters:
    ///   - wholeWords: tokens that a word of their spelling becomes whatever the merges say.
    ///   - normalized: added tokens that are found in the normalised text only.
    func build(
        _ alphabet: SymbolAlphabet, _ preparation: TextPreparation, _ ends: TextEnds, wholeWords: [Int] = [],
        normalized: Set<Int32> = []
    ) throws -> Tokenizer {
        var merges = MergeTable(capacity: pairs.count)
        for (rank, pair) in pairs.enumerated() {
            guard merges.insert(pair.left, pair.right, rank: rank, merged: pair.merged) else {
                throw malformed("merge \(rank) appears twice")
            }
        }
        try requireTokens(ends)
        var whole: [[UInt8]: Int32] = [:]
        for id in wholeWords {
            if let bytes = vocabulary.spelledBytes(id) { whole[bytes] = Int32(id) }
        }
        return Tokenizer(
            path: path, vocabulary: vocabulary,
            encoding: BytePairEncoding(alphabet: alphabet, merges: merges, wholeWords: whole, isOrdered: isOrdered),
            preparation: preparation, normalized: normalized, ends: ends)
    }

    /// The tokens of single bytes in `ByteAlphabet`'s spelling; −1 for those that have none.
    func byteAlphabet() throws -> SymbolAlphabet {
        let bytes = ByteAlphabet.scalars.map { vocabulary.id(String(Character($0))) ?? -1 }
        guard bytes.contains(where: { $0 >= 0 }) else {
            throw malformed("no token stands for a single byte: this is not a byte-level vocabulary")
        }
        return SymbolAlphabet(bytes: bytes)
    }

    /// The tokens of single characters among `pieces`, and those of single bytes, each spelled as `<0x0A>`, among `bytes`.
    mutating func pieceAlphabet(pieces: [Int], bytes: [Int]) throws -> SymbolAlphabet {
        var ofByte = [Int32](repeating: -1, count: 256)
        for id in bytes {
            let token = vocabulary.spellings[id] ?? ""
            guard let byte = Self.byte(token) else {
                throw malformed("the token \"\(token)\" of a byte is not spelled <0x00> to <0xFF>")
            }
            ofByte[Int(byte)] = Int32(id)
            vocabulary.setByte(byte, Int32(id))
        }
        if let byte = ofByte.firstIndex(where: { $0 < 0 }) { throw malformed("no token stands for the byte \(byte)") }
        var characters: [Unicode.Scalar: Int32] = [:]
        for id in pieces {
            let scalars = vocabulary.spellings[id]?.unicodeScalars
            if let scalars, scalars.count == 1 { characters[scalars.first!] = Int32(id) }
        }
        guard characters["\u{2581}"] != nil else { throw malformed("no piece stands for a space") }
        return SymbolAlphabet(bytes: ofByte, characters: characters)
    }

    /// The byte that a token spelled `<0x0A>` stands for.
    static func byte(_ token: String) -> UInt8? {
        guard token.utf8.count == 6, token.hasPrefix("<0x"), token.hasSuffix(">") else { return nil }
        return UInt8(token.dropFirst(3).dropLast(), radix: 16)
    }

    /// What the merges make.
    var mergedSpellings: [String] { Set(pairs.map(\.merged)).compactMap { vocabulary.spellings[Int($0)] } }

    func requireTokens(_ ends: TextEnds) throws {
        for case let id? in [ends.end, ends.beginning] where !(0..<vocabulary.count).contains(id) {
            throw malformed("a special token has id \(id), not below \(vocabulary.count)")
        }
    }

    /// Whether every merge comes after those that make its parts.
    private var isOrdered: Bool {
        var lastMade = [Int](repeating: -1, count: vocabulary.count)
        for (rank, pair) in pairs.enumerated() { lastMade[Int(pair.merged)] = rank }
        return pairs.enumerated().allSatisfy { rank, pair in
            lastMade[Int(pair.left)] < rank && lastMade[Int(pair.right)] < rank
        }
    }

    func malformed(_ what: String) -> TextError { .malformedTokenizer(file: path, what: what) }
}
