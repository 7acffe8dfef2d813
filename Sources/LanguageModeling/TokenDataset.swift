import LinearAlgebra

/// A corpus as rows of token ids: its documents joined by the end-of-text token and cut every `length` tokens. Where the model's
/// texts begin with a token of their own, every row does, and is cut one token earlier.
///
/// Attention is not masked across documents, so that a row is a plain sequence to the model. Tokens that do not fill
/// a row at the end are left out. Disjoint parts for training, scoring and evaluation come from `skip` and `limit`.
/// One consumer at a time.
public final class TokenDataset {
    /// Tokens in a row.
    public let length: Int
    /// Tokens of the rows given out so far.
    public private(set) var deliveredTokenCount = 0

    private let corpus: TextCorpus
    private let skip: Int
    private let limit: Int?
    private let beginning: Int32?
    private var stream: TokenStream
    private var buffer: [Int32] = []
    private var start = 0
    private var passed = 0
    private var ended = false

    /// Rows of `length` tokens from the part of the corpus that begins after `skip` tokens, at most `limit` tokens of rows. A part that
    /// skips as many tokens as another has in rows does not overlap with it.
    ///
    /// `begins` says whether rows begin with the beginning-of-sequence token; nil for as the model was trained. With `allowsSpecial`,
    /// a special token spelled out in the text is that token.
    ///
    /// Throws `TextError.noEndOfText` if the tokenizer has no token to put between documents, `noBeginningOfText` for none to begin with.
    public init(
        corpus: TextCorpus, tokenizer: Tokenizer, length: Int, skip: Int = 0, limit: Int? = nil, begins: Bool? = nil,
        allowsSpecial: Bool = false
    ) throws {
        precondition(length > 0 && skip >= 0 && limit ?? 0 >= 0, "rows of \(length), skip \(skip)")
        guard tokenizer.endOfText != nil else { throw TextError.noEndOfText(file: tokenizer.path) }
        self.corpus = corpus
        self.length = length
        self.skip = skip
        self.limit = limit
        let token = try tokenizer.beginning(begins)
        beginning = length > 1 ? token : nil
        stream = TokenStream(corpus: corpus, tokenizer: tokenizer, allowsSpecial: allowsSpecial)
    }

    /// The next rows, `sequences` of them or the fewer that are left; nil when there are none.
    ///
    /// Throws `TextError`: what reading the corpus throws, and `tooShort` if not even the first row is full.
    public func nextBatch(sequences: Int) throws -> TokenBatch? {
        precondition(sequences > 0, "a batch of \(sequences) sequences")
        let room = limit.map { ($0 - deliveredTokenCount) / length } ?? sequences
        let cut = beginning == nil ? length : length - 1
        // No text fills as many rows as there are numbers.
        let wanted = min(sequences, room, Int.max / length) * cut
        while buffer.count - start < wanted, !ended { try tokenizeMore() }
        let rows = min(wanted, buffer.count - start) / cut
        guard rows > 0 else {
            if deliveredTokenCount == 0 {
                throw TextError.tooShort(
                    path: corpus.path, tokenCount: ended ? passed + buffer.count : nil, skipped: skip, limit: limit,
                    length: length)
            }
            return nil
        }
        var ids: [Int32] = []
        ids.reserveCapacity(rows * length)
        for row in 0..<rows {
            if let beginning { ids.append(beginning) }
            ids += buffer[start + row * cut..<start + (row + 1) * cut]
        }
        start += rows * cut
        deliveredTokenCount += ids.count
        return TokenBatch(ids: ids, sequenceCount: rows, length: length)
    }

    private func tokenizeMore() throws {
        buffer.removeSubrange(..<start)
        start = 0
        guard let tokens = try stream.next() else {
            ended = true
            return
        }
        if buffer.isEmpty { buffer = tokens } else { buffer += tokens }
        let dropped = min(skip - passed, buffer.count)
        buffer.removeFirst(dropped)
        passed += dropped
    }
}
