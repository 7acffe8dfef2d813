/// The tokens of a vocabulary: how each is spelled, which bytes it stands for, which are special.
struct Vocabulary: Sendable {
    /// How tokens spell text.
    enum Spelling: Sendable {
        /// By the 256 characters of `ByteAlphabet`.
        case byteLevel
        /// As it is, a space as `▁` (SentencePiece).
        case pieces
    }

    private let spelling: Spelling
    /// Spelling by id, as in the file ("Ġthe"); nil for an id that no token has.
    private(set) var spellings: [String?]
    /// Bytes by id; those of an added token are its text.
    private(set) var bytes: [[UInt8]]
    /// Tokens outside the merges, which stand for their text as a whole.
    private(set) var added: Set<Int32> = []
    /// Those of `added` that are not text: control tokens.
    private(set) var special: Set<Int32> = []
    private var ids: [[UInt8]: Int32] = [:]

    /// Room for ids below `count`.
    init(count: Int, spelling: Spelling = .byteLevel) {
        self.spelling = spelling
        spellings = Array(repeating: nil, count: count)
        bytes = Array(repeating: [], count: count)
        ids.reserveCapacity(count)
    }

    var count: Int { spellings.count }

    /// The bytes of a text that token `id` spells; nil if it spells none.
    func spelledBytes(_ id: Int) -> [UInt8]? {
        guard let text = spellings[id] else { return nil }
        switch spelling {
        case .byteLevel: return ByteAlphabet.bytes(of: text)
        case .pieces: return Self.withSpaces(text)
        }
    }

    private static func withSpaces(_ piece: String) -> [UInt8] {
        piece.unicodeScalars.flatMap { $0 == "\u{2581}" ? [0x20] : Array(UTF8.encode($0)!) }
    }

    /// The id of the token spelled `spelling`.
    func id(_ spelling: some StringProtocol) -> Int32? { ids[Array(spelling.utf8)] }

    /// Adds a token; false if the spelling or the id is taken.
    mutating func insert(_ spelling: String, _ id: Int32) -> Bool {
        guard spellings[Int(id)] == nil, ids.updateValue(id, forKey: Array(spelling.utf8)) == nil else { return false }
        spellings[Int(id)] = spelling
        switch self.spelling {
        // A character outside the alphabet spells no byte; the reference then takes the spelling as it stands.
        case .byteLevel: bytes[Int(id)] = ByteAlphabet.bytes(of: spelling) ?? Array(spelling.utf8)
        case .pieces: bytes[Int(id)] = Self.withSpaces(spelling)
        }
        return true
    }

    /// Makes the token `id` stand for one byte, whatever its spelling.
    mutating func setByte(_ byte: UInt8, _ id: Int32) { bytes[Int(id)] = [byte] }

    /// Marks `id` as an added token with the given text; false if the id or the text belongs to another token. Among pieces `▁` in
    /// a token of the vocabulary stays a space.
    mutating func add(_ text: String, _ id: Int32, isSpecial: Bool) -> Bool {
        let isPiece = spelling == .pieces && spellings[Int(id)] != nil
        if let present = spellings[Int(id)], Array(present.utf8) != Array(text.utf8) { return false }
        if let other = ids.updateValue(id, forKey: Array(text.utf8)), other != id { return false }
        spellings[Int(id)] = text
        if !isPiece { bytes[Int(id)] = Array(text.utf8) }
        added.insert(id)
        if isSpecial { special.insert(id) }
        return true
    }
}
