/// The token ids of a corpus, a stretch at a time: its documents, joined by the end-of-text token.
public struct TokenStream {
    private let tokenizer: Tokenizer
    private let allowsSpecial: Bool
    private var pieces: TextPieces
    private var joinsNext = false
    private var ended = false

    /// Bytes tokenized at a time: enough for every lane to have something to do. Tokens do not depend on it.
    private static let stretch = 1 << 21

    /// The ids from the first document on; with `allowsSpecial`, a special token spelled out in the text is that token.
    public init(corpus: TextCorpus, tokenizer: Tokenizer, allowsSpecial: Bool = false) {
        self.tokenizer = tokenizer
        self.allowsSpecial = allowsSpecial
        pieces = corpus.pieces()
    }

    /// The next ids; nil after the last.
    ///
    /// Throws `TextError`: what reading the corpus throws, and `noEndOfText` where there is a second document and no token to
    /// put before it.
    public mutating func next() throws -> [Int32]? {
        var stretch: [TextPiece] = []
        var byteCount = 0
        while byteCount < Self.stretch, !ended {
            guard let piece = try pieces.next() else {
                ended = true
                break
            }
            byteCount += piece.bytes.count
            stretch.append(piece)
        }
        if stretch.isEmpty { return nil }
        var result: [Int32] = []
        let encoded = tokenizer.encode(pieces: stretch, allowSpecial: allowsSpecial)
        for (piece, tokens) in zip(stretch, encoded) {
            if joinsNext {
                guard let endOfText = tokenizer.endOfText else { throw TextError.noEndOfText(file: tokenizer.path) }
                result.append(endOfText)
            }
            // A long document is the only one, and need not be copied.
            if result.isEmpty { result = tokens } else { result += tokens }
            joinsNext = piece.endsDocument
        }
        return result
    }
}
