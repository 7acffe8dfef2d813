import LinearAlgebra

/// A corpus as rows of token ids: its documents joined by the end-of-text token and cut every `length` tokens, or each in rows of its
/// own; or the rows that files of ids hold. Where the model's texts begin with a token of their own, every row does that is made here, and
/// is cut one token earlier.
///
/// Tokens that do not fill a row at the end are left out where documents are joined. Disjoint parts for training, scoring and
/// evaluation come from `skip` and `limit`. One consumer at a time.
public final class TokenDataset {
    /// How rows are cut.
    public struct Cut: Sendable {
        /// T, tokens in a row.
        public var length: Int
        /// Positions of the rows to leave out first.
        public var skip = 0
        /// Positions of all rows, at most; nil for no end.
        public var limit: Int?
        /// Whether rows begin with the beginning-of-sequence token; nil for as the model was trained.
        public var begins: Bool?
        /// Whether a special token spelled out in the text is that token.
        public var allowsSpecial = false
        /// Whether documents are joined; else each is alone, and its last row padded.
        public var joins = true

        /// Joined documents in rows of `length`, all of them.
        public init(length: Int) { self.length = length }
    }

    /// Tokens in a row.
    public let length: Int
    /// Tokens of the rows given out so far, padding included: a row has `length`.
    public private(set) var deliveredTokenCount = 0

    private let path: String
    private let cut: Cut
    private var rows: any TokenRows

    /// Rows of text. A part that skips as many tokens as another has in rows does not overlap with it.
    ///
    /// Throws `TextError.noEndOfText` if the tokenizer has no token to put between documents, `noBeginningOfText` for none to begin with.
    public convenience init(
        corpus: TextCorpus, tokenizer: Tokenizer, length: Int, skip: Int = 0, limit: Int? = nil, begins: Bool? = nil,
        allowsSpecial: Bool = false
    ) throws {
        var cut = Cut(length: length)
        (cut.skip, cut.limit, cut.begins, cut.allowsSpecial) = (skip, limit, begins, allowsSpecial)
        try self.init(.text(corpus), tokenizer, vocabularySize: tokenizer.vocabularySize, cut)
    }

    /// Rows of a corpus for a model of `vocabularySize` tokens. Text needs a tokenizer; without one, rows of ids begin with no token of
    /// their own.
    ///
    /// Throws `TextError.noTokenizer`, `.noEndOfText`, `.noBeginningOfText`, `.rowsOfOtherLength`, `.idsAreGiven`.
    public init(_ corpus: Corpus, _ tokenizer: Tokenizer?, vocabularySize: Int, _ cut: Cut) throws {
        precondition(
            cut.length > 0 && cut.skip >= 0 && cut.limit ?? 0 >= 0, "rows of \(cut.length), skip \(cut.skip)")
        self.cut = cut
        length = cut.length
        path = corpus.files.path
        rows = try Self.rows(corpus, tokenizer, vocabularySize, cut)
    }

    private static func rows(
        _ corpus: Corpus, _ tokenizer: Tokenizer?, _ vocabularySize: Int, _ cut: Cut
    ) throws -> any TokenRows {
        let path = corpus.files.path
        let skippedRows = (cut.skip + cut.length - 1) / cut.length
        var stream: TokenStream
        switch corpus {
        case .text(let text):
            guard let tokenizer else { throw TextError.noTokenizer(path: path) }
            guard tokenizer.endOfText != nil else { throw TextError.noEndOfText(file: tokenizer.path) }
            stream = TokenStream(corpus: text, tokenizer: tokenizer, allowsSpecial: cut.allowsSpecial)
        case .tokens(let files):
            guard !cut.allowsSpecial, cut.begins == nil || files.rowLength == nil else {
                throw TextError.idsAreGiven(path: path)
            }
            if let length = files.rowLength {
                guard length == cut.length else {
                    throw TextError.rowsOfOtherLength(path: path, found: length, wanted: cut.length)
                }
                return GivenRows(files, vocabularySize: vocabularySize, skip: skippedRows)
            }
            stream = TokenStream(files, vocabularySize: vocabularySize, endOfText: tokenizer?.endOfText)
        }
        guard tokenizer != nil || cut.begins != true && cut.joins else { throw TextError.noTokenizer(path: path) }
        let beginning = try tokenizer?.beginning(cut.begins)
        if cut.joins {
            return JoinedRows(length: cut.length, beginning: beginning, skip: cut.skip) { try stream.next() }
        }
        guard let padding = tokenizer?.endOfText else {
            throw TextError.noEndOfText(file: tokenizer?.path ?? path)
        }
        return DocumentRows(length: cut.length, beginning: beginning, padding: padding, skip: skippedRows) {
            try stream.nextPieces()
        }
    }

    /// The next rows, `sequences` of them or the fewer that are left; nil when there are none.
    ///
    /// Throws `TextError`: what reading the corpus throws, and `tooShort` if not even the first row is full.
    public func nextBatch(sequences: Int) throws -> TokenBatch? {
        precondition(sequences > 0, "a batch of \(sequences) sequences")
        let room = cut.limit.map { ($0 - deliveredTokenCount) / length } ?? sequences
        // No text fills as many rows as there are numbers.
        let wanted = min(sequences, room, Int.max / length)
        guard wanted > 0, let batch = try rows.next(wanted) else {
            if deliveredTokenCount == 0 {
                throw TextError.tooShort(
                    path: path, tokenCount: wanted > 0 ? rows.found : nil, skipped: cut.skip, limit: cut.limit,
                    length: length)
            }
            return nil
        }
        deliveredTokenCount += batch.tokenCount
        return batch
    }
}
