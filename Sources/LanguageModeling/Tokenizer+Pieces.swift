/// SentencePiece's byte-pair encoding (Kudo and Richardson, arXiv:1808.06226): two neighbours may be merged wherever what they spell
/// together is a piece, the piece of the highest score first, the leftmost among equals.
///
/// That is a byte-pair encoding whose merges are all pairs of pieces that spell a third, in order of its score. Runs of spaces share one
/// score in Llama's vocabularies, and so one rank.
struct PieceMerges {
    /// The merges in order.
    let table: MergeTable
    /// Whether every piece comes after those that it is merged of, in rank.
    let isOrdered: Bool

    /// `pieces` are ids, their spellings as UTF-8, and scores.
    init(_ pieces: [(id: Int32, spelling: [UInt8], score: Double)]) {
        let order = pieces.indices.sorted { (pieces[$0].score, $1) > (pieces[$1].score, $0) }
        let index = SpellingIndex(pieces.map(\.spelling))
        var found: [(left: Int32, right: Int32, rank: Int, merged: Int32)] = []
        found.reserveCapacity(4 * pieces.count)
        var rankOf = [Int](repeating: 0, count: pieces.count)
        for (previous, i) in zip(order, order.dropFirst()) {
            rankOf[i] = rankOf[previous] + (pieces[i].score == pieces[previous].score ? 0 : 1)
        }
        var ordered = true
        for i in order {
            let rank = rankOf[i]
            index.forEachSplit(of: i) { left, right in
                found.append((pieces[left].id, pieces[right].id, rank, pieces[i].id))
                // A single character is there from the start.
                for part in [left, right] where index.isMade(part) && rankOf[part] >= rank { ordered = false }
            }
        }
        var table = MergeTable(capacity: found.count)
        for pair in found { _ = table.insert(pair.left, pair.right, rank: pair.rank, merged: pair.merged) }
        self.table = table
        isOrdered = ordered
    }
}

/// Finds spellings by their hash: of every part of a spelling it follows from two of the whole.
private struct SpellingIndex {
    private let spellings: [[UInt8]]
    private var slots: [Int32]
    private let mask: Int
    private let powers: [UInt64]
    private static let base: UInt64 = 0x9E37_79B9_7F4A_7C15

    init(_ spellings: [[UInt8]]) {
        self.spellings = spellings
        var size = 16
        while size < 2 * spellings.count { size *= 2 }
        mask = size - 1
        slots = [Int32](repeating: -1, count: size)
        let longest = spellings.reduce(0) { max($0, $1.count) }
        powers = (0..<longest).reduce(into: [1]) { powers, _ in powers.append(powers.last! &* Self.base) }
        for (i, spelling) in spellings.enumerated() {
            var slot = Self.slot(Self.prefixes(spelling).last!, mask)
            while slots[slot] >= 0 { slot = (slot + 1) & mask }
            slots[slot] = Int32(i)
        }
    }

    /// Whether a spelling has more than one character.
    func isMade(_ i: Int) -> Bool { spellings[i].count { $0 & 0xC0 != 0x80 } > 1 }

    /// Calls `body` with every two spellings that make spelling i together.
    func forEachSplit(of i: Int, _ body: (_ left: Int, _ right: Int) -> Void) {
        let spelling = spellings[i]
        let hashes = Self.prefixes(spelling)
        for cut in 1..<max(1, spelling.count) where spelling[cut] & 0xC0 != 0x80 {
            let right = hashes[spelling.count] &- hashes[cut] &* powers[spelling.count - cut]
            guard let left = find(spelling[..<cut], hashes[cut]), let right = find(spelling[cut...], right) else {
                continue
            }
            body(left, right)
        }
    }

    private func find(_ part: ArraySlice<UInt8>, _ hash: UInt64) -> Int? {
        var slot = Self.slot(hash, mask)
        while slots[slot] >= 0 {
            if spellings[Int(slots[slot])].elementsEqual(part) { return Int(slots[slot]) }
            slot = (slot + 1) & mask
        }
        return nil
    }

    /// The hash of the first 0, 1, … bytes.
    private static func prefixes(_ spelling: [UInt8]) -> [UInt64] {
        spelling.reduce(into: [0]) { hashes, byte in hashes.append(hashes.last! &* base &+ UInt64(byte) &+ 1) }
    }

    private static func slot(_ hash: UInt64, _ mask: Int) -> Int {
        Int(truncatingIfNeeded: (hash ^ hash >> 29) &* 0xD6E8_FEB8_6659_FD93 >> 32) & mask
    }
}

extension TokenizerBuilder {
    /// A tokenizer of pieces, which are merged by their scores; `bytes` are the tokens that stand for single bytes. With `prefix`
    /// a space is put in front of a text. Without, added tokens of spaces are found where a text has `▁` too, as SentencePiece does.
    ///
    /// - Throws: `TextError.malformedTokenizer` for a score that is no number and for bytes without a token.
    mutating func build(
        pieces: [(id: Int, score: Double)], bytes: [Int], prefix: Bool, _ ends: TextEnds
    ) throws -> Tokenizer {
        try requireTokens(ends)
        if let piece = pieces.first(where: { !$0.score.isFinite }) {
            throw malformed("the piece \"\(vocabulary.spellings[piece.id] ?? "")\" has the score \(piece.score)")
        }
        let alphabet = try pieceAlphabet(pieces: pieces.map(\.id), bytes: bytes)
        let spellings = pieces.map { vocabulary.spellings[$0.id] ?? "" }
        let merges = PieceMerges(
            zip(pieces, spellings).map { (id: Int32($0.id), spelling: Array($1.utf8), score: $0.score) })
        return Tokenizer(
            path: path, vocabulary: vocabulary,
            encoding: BytePairEncoding(
                alphabet: alphabet, merges: merges.table, wholeWords: [:], isOrdered: merges.isOrdered),
            preparation: TextPreparation(
                normalization: TextNormalization(prepends: prefix, spellsSpaces: true),
                pattern: .none(pieces: spellings)),
            normalized: prefix ? [] : vocabulary.added.subtracting(vocabulary.special),
            ends: ends)
    }
}
