import TensorFiles

/// Cuts a corpus into rows of token ids.
protocol TokenRows {
    /// The next rows, at most `count` and at least one; nil after the last.
    ///
    /// Throws `TextError` and `TensorFileError`: what reading the corpus throws.
    mutating func next(_ count: Int) throws -> TokenBatch?

    /// Tokens that there were in all, where that is known by now.
    var found: Int? { get }
}

/// Rows cut from one stream of ids, whatever documents they are of; what does not fill a row at the end is left out.
///
/// Attention is not masked across documents, so that a row is a plain sequence to the model.
struct JoinedRows: TokenRows {
    private let length: Int
    private let beginning: Int32?
    private let skip: Int
    private let stretch: () throws -> [Int32]?
    private var buffer: [Int32] = []
    private var start = 0
    private var passed = 0
    private var ended = false

    /// Rows of the stream that `stretch` gives piece by piece, after its first `skip` ids. Where there is a `beginning`, every row begins
    /// with it, and is cut one id earlier.
    init(length: Int, beginning: Int32?, skip: Int, _ stretch: @escaping () throws -> [Int32]?) {
        (self.length, self.skip, self.stretch) = (length, skip, stretch)
        self.beginning = length > 1 ? beginning : nil
    }

    var found: Int? { ended ? passed + buffer.count : nil }

    mutating func next(_ count: Int) throws -> TokenBatch? {
        let cut = beginning == nil ? length : length - 1
        let wanted = count * cut
        while buffer.count - start < wanted, !ended { try readMore() }
        let rows = min(wanted, buffer.count - start) / cut
        guard rows > 0 else { return nil }
        var ids: [Int32] = []
        ids.reserveCapacity(rows * length)
        for row in 0..<rows {
            if let beginning { ids.append(beginning) }
            ids += buffer[start + row * cut..<start + (row + 1) * cut]
        }
        start += rows * cut
        return TokenBatch(ids: ids, sequenceCount: rows, length: length)
    }

    private mutating func readMore() throws {
        buffer.removeSubrange(..<start)
        start = 0
        guard let tokens = try stretch() else {
            ended = true
            return
        }
        if buffer.isEmpty { buffer = tokens } else { buffer += tokens }
        let dropped = min(skip - passed, buffer.count)
        buffer.removeFirst(dropped)
        passed += dropped
    }
}

/// Every document in rows of its own: the last one of a document is what is left of it, padded.
///
/// Rows are padded, and not of lengths of their own, since a batch is a matrix all the way to the loss: models, scorers and plugins see
/// [B, T]. Padding stands behind the tokens, where causal attention does not look, and counts nowhere.
struct DocumentRows: TokenRows {
    private let length: Int
    private let beginning: Int32?
    private let padding: Int32
    private let stretch: () throws -> [DocumentPiece]?
    private var pieces: ArraySlice<DocumentPiece> = []
    private var skipped: Int
    /// Of a document, what is in no row yet.
    private var buffer: [Int32] = []
    private var start = 0
    private var documentEnds = true
    private var ended = false
    private var given = 0

    /// Rows of the documents that `stretch` gives some at a time, the first `skip` rows left out.
    init(
        length: Int, beginning: Int32?, padding: Int32, skip: Int, _ stretch: @escaping () throws -> [DocumentPiece]?
    ) {
        (self.length, self.padding, self.stretch, skipped) = (length, padding, stretch, skip)
        self.beginning = length > 1 ? beginning : nil
    }

    var found: Int? { ended ? given * length : nil }

    mutating func next(_ count: Int) throws -> TokenBatch? {
        var (ids, counts): ([Int32], [Int]) = ([], [])
        while counts.count < count, let row = try nextRow() {
            given += 1
            if skipped > 0 {
                skipped -= 1
                continue
            }
            counts.append(row.count)
            ids += row
            ids += repeatElement(padding, count: length - row.count)
        }
        return counts.isEmpty ? nil : TokenBatch(ids: ids, counts: counts, length: length)
    }

    private mutating func nextRow() throws -> [Int32]? {
        let cut = beginning == nil ? length : length - 1
        while !ended, documentEnds ? buffer.count == start : buffer.count - start < cut {
            buffer.removeSubrange(..<start)
            start = 0
            if pieces.isEmpty { pieces = try stretch()?[...] ?? [] }
            guard let piece = pieces.popFirst() else {
                ended = true
                break
            }
            buffer += piece.ids
            documentEnds = piece.endsDocument
        }
        let tokens = min(cut, buffer.count - start)
        guard tokens > 0 else { return nil }
        defer { start += tokens }
        return (beginning.map { [$0] } ?? []) + buffer[start..<start + tokens]
    }
}

/// Rows that files hold, as they are.
struct GivenRows: TokenRows {
    private let files: TokenFiles
    private let vocabularySize: Int
    private var file = 0
    private var row = 0
    private var skipped: Int

    init(_ files: TokenFiles, vocabularySize: Int, skip: Int) {
        (self.files, self.vocabularySize, skipped) = (files, vocabularySize, skip)
    }

    var found: Int? { file == files.files.count ? files.files.reduce(0) { $0 + $1.count } : nil }

    mutating func next(_ count: Int) throws -> TokenBatch? {
        while file < files.files.count {
            let own = files.files[file]
            let passed = min(skipped, own.rowCount - row)
            row += passed
            skipped -= passed
            guard row < own.rowCount else {
                file += 1
                row = 0
                continue
            }
            let range = row..<min(row + count, own.rowCount)
            row = range.upperBound
            return try own.rows(range, vocabularySize: vocabularySize)
        }
        return nil
    }
}
