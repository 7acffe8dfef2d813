/// The token ids of a corpus, a stretch at a time: its documents, joined by the end-of-text token; or a stream of ids, as it is.
public struct TokenStream {
    private enum Source {
        case text(TextPieces, Tokenizer, allowsSpecial: Bool)
        case files(TokenFiles, vocabularySize: Int, endOfText: Int32?)
    }

    private var source: Source
    private var joinsNext = false
    private var ended = false
    /// In files of ids: which one, and how many of it were read.
    private var (file, read) = (0, 0)

    /// Bytes tokenized at a time: enough for every lane to have something to do. Tokens do not depend on it.
    private static let stretch = 1 << 21

    /// The ids from the first document on; with `allowsSpecial`, a special token spelled out in the text is that token.
    public init(corpus: TextCorpus, tokenizer: Tokenizer, allowsSpecial: Bool = false) {
        source = .text(corpus.pieces(), tokenizer, allowsSpecial: allowsSpecial)
    }

    /// The ids of files, row after row where they have rows. `endOfText` stands between their documents.
    public init(_ files: TokenFiles, vocabularySize: Int, endOfText: Int32?) {
        source = .files(files, vocabularySize: vocabularySize, endOfText: endOfText)
    }

    /// The next ids; nil after the last.
    ///
    /// Throws `TextError`: what reading the corpus throws, and `noEndOfText` where there is a second document and no token to
    /// put before it. `TensorFileError` for ids that the vocabulary does not have.
    public mutating func next() throws -> [Int32]? {
        guard case .text(_, let tokenizer, _) = source else { return try nextOfFiles() }
        guard let pieces = try nextPieces() else { return nil }
        var result: [Int32] = []
        for piece in pieces {
            if joinsNext {
                guard let endOfText = tokenizer.endOfText else { throw TextError.noEndOfText(file: tokenizer.path) }
                result.append(endOfText)
            }
            // A long document is the only one, and need not be copied.
            if result.isEmpty { result = piece.ids } else { result += piece.ids }
            joinsNext = piece.endsDocument
        }
        return result
    }

    /// The next documents or parts of one; nil after the last. In a stream of ids they lie between end-of-text tokens.
    ///
    /// Throws as `next` does.
    public mutating func nextPieces() throws -> [DocumentPiece]? {
        if case .files(_, _, let endOfText) = source {
            guard let ids = try nextOfFiles() else { return nil }
            let parts = ids.split(omittingEmptySubsequences: false) { $0 == endOfText }
            return parts.enumerated().map { DocumentPiece(ids: Array($1), endsDocument: $0 < parts.count - 1) }
        }
        guard case .text(var pieces, let tokenizer, let allowsSpecial) = source else { return nil }
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
        source = .text(pieces, tokenizer, allowsSpecial: allowsSpecial)
        if stretch.isEmpty { return nil }
        let encoded = tokenizer.encode(pieces: stretch, allowSpecial: allowsSpecial)
        return zip(stretch, encoded).map { DocumentPiece(ids: $1, endsDocument: $0.endsDocument) }
    }

    private mutating func nextOfFiles() throws -> [Int32]? {
        guard case .files(let files, let vocabularySize, _) = source else { return nil }
        while file < files.files.count {
            let own = files.files[file]
            guard read < own.count else {
                (file, read) = (file + 1, 0)
                continue
            }
            let range = read..<min(read + Self.stretch / 4, own.count)
            read = range.upperBound
            return try own.ids(range, vocabularySize: vocabularySize)
        }
        return nil
    }
}

/// Ids of a document, or of a part of one.
public struct DocumentPiece: Sendable {
    public let ids: [Int32]
    /// Whether the document ends with them.
    public let endsDocument: Bool
}
