import TensorFiles

/// Documents in files: `.jsonl` with a text in a member of every line, `.txt` with lines holding only `<|endoftext|>`
/// between documents, either of them packed (`.gz`, `.zst`), or folders of such files, read in the order of their names.
///
/// Read as a stream: memory does not grow with the corpus. A byte-order mark at the start of a file is no text.
public struct TextCorpus: Sendable {
    /// Where it lies.
    public let source: CorpusFiles
    /// The member of a line of .jsonl that holds the text.
    public let textKey: String
    /// Where lines of .jsonl that cannot be read are counted; nil where the first one is an error.
    let skipped: SkippedLines?

    /// As given by the caller.
    public var path: String { source.path }
    /// The files, in the order they are read.
    public var files: [String] { source.files }

    /// How many lines were passed over, each counted once however often the corpus is read, and what was wrong with the
    /// first of them.
    public var skippedLines: (count: Int, first: TextError?) { skipped?.summary ?? (0, nil) }

    /// A file or a folder of text; contents are looked at when they are read.
    ///
    /// Throws `TextError.unreadable` for what `CorpusFiles` cannot find, and for token ids.
    public init(path: String, skipsBadLines: Bool = false) throws {
        let files = try CorpusFiles([path])
        guard files.content == .text else { throw TextError.unreadable(path: path, reason: "it holds no text") }
        var reading = CorpusReading()
        reading.skipsBadLines = skipsBadLines
        self.init(files, reading)
    }

    init(_ files: CorpusFiles, _ reading: CorpusReading) {
        source = files
        textKey = reading.textKey
        skipped = reading.skipsBadLines ? SkippedLines() : nil
    }

    /// The documents from the first on, piece by piece.
    public func pieces() -> TextPieces { TextPieces(corpus: self) }
}

/// A document or, of one that is longer than a mebibyte, a part.
public struct TextPiece: Sendable, Equatable {
    /// The text, in UTF-8; no character is cut.
    public let bytes: [UInt8]
    /// Whether the document begins with this piece.
    public let beginsDocument: Bool
    /// Whether the document ends with this piece.
    public let endsDocument: Bool
}

/// The pieces of a corpus, in order. Documents without a character are passed over.
public struct TextPieces {
    private let corpus: TextCorpus
    private let files: [String]
    private var nextFile = 0
    private var reader: LineReader?
    private var readsJSON = false
    private var text: [UInt8] = []
    private var searched = 0
    private var foundText = false
    private var isInsideDocument = false

    /// A document longer than this is given in parts, so that a single huge one neither fills the memory nor keeps
    /// all lanes but one idle.
    package static let longestPiece = 1 << 20

    init(corpus: TextCorpus) {
        self.corpus = corpus
        files = corpus.files
    }

    /// The next piece; nil after the last.
    ///
    /// Throws `TextError` for a file that cannot be read, a line that is malformed, with its number, and a corpus
    /// without any text.
    public mutating func next() throws -> TextPiece? {
        while true {
            guard reader != nil else {
                if try openNext() { continue }
                return nil
            }
            let piece = readsJSON ? try nextOfJSON() : try nextOfText()
            if let piece {
                foundText = true
                return piece
            }
            reader = nil
        }
    }

    private mutating func openNext() throws -> Bool {
        guard nextFile < files.count else {
            if !foundText { throw TextError.empty(path: corpus.path) }
            return false
        }
        let path = files[nextFile]
        nextFile += 1
        readsJSON = Packing.unpackedName(path).hasSuffix(".jsonl")
        // Of .jsonl each line is looked at by itself.
        reader = try LineReader(path: path, requiresUTF8: !readsJSON)
        return true
    }

    private mutating func nextOfJSON() throws -> TextPiece? {
        while let line = try reader!.next() {
            if line.allSatisfy({ $0 == 0x20 || $0 == 0x09 }) { continue }
            let bytes: [UInt8]
            do {
                bytes = Array(try textMember(line).utf8)
            } catch let error as TextError {
                guard let skipped = corpus.skipped else { throw error }
                skipped.add(file: nextFile - 1, line: reader!.lineNumber, error)
                continue
            }
            if !bytes.isEmpty { return TextPiece(bytes: bytes, beginsDocument: true, endsDocument: true) }
        }
        return nil
    }

    private func textMember(_ line: ArraySlice<UInt8>) throws -> String {
        func malformed(_ what: String) -> TextError {
            .malformedLine(file: files[nextFile - 1], line: reader!.lineNumber, what: what)
        }
        do {
            let value = try line.withUnsafeBytes { try JSONValue(parsing: $0) }
            guard value.object != nil else { throw malformed("it is \(value.shown), not an object") }
            let key = corpus.textKey
            guard let text = value[key] else {
                throw malformed("there is no member \"\(key)\" (--text-key, in a recipe text_key, names another)")
            }
            guard let string = text.string else { throw malformed("the member \"\(key)\" is not a text") }
            return string
        } catch let error as JSONSyntaxError { throw malformed("not JSON: \(error)") }
    }

    private mutating func nextOfText() throws -> TextPiece? {
        while let part = try reader!.nextPart() {
            if part.begins, part.ends, part.bytes.elementsEqual(Self.separator) {
                if let piece = endOfDocument() { return piece }
                continue
            }
            text += part.bytes
            if part.ends { text.append(UInt8(ascii: "\n")) }
            if text.count > Self.longestPiece, let cut = Self.lastSafeCut(text, after: searched) {
                defer {
                    text.removeSubrange(..<cut)
                    searched = 0
                    isInsideDocument = true
                }
                return TextPiece(
                    bytes: Array(text[..<cut]), beginsDocument: !isInsideDocument, endsDocument: false)
            }
            // Where there was no cut there will be none; but the last place is judged by what follows it.
            if text.count > Self.longestPiece { searched = text.count - 1 }
        }
        return endOfDocument()
    }

    private static let separator = Array("<|endoftext|>".utf8)

    /// What was collected, without the line end before the separator, which belongs to the separator.
    private mutating func endOfDocument() -> TextPiece? {
        if text.last == UInt8(ascii: "\n") { text.removeLast() }
        searched = 0
        guard !text.isEmpty else { return nil }
        defer {
            text = []
            isInsideDocument = false
        }
        return TextPiece(bytes: text, beginsDocument: !isInsideDocument, endsDocument: true)
    }

    /// The last place after `start` where every pre-tokenizer ends a word whatever follows, so that a text cut there
    /// has the same tokens as in one piece: before a single space between two ASCII letters, or after a single line
    /// end between two characters that are surely not white space. At least one byte is left behind the cut.
    package static func lastSafeCut(_ bytes: [UInt8], after start: Int = 0) -> Int? {
        for i in stride(from: bytes.count - 2, to: max(0, start - 1), by: -1) {
            if bytes[i] == 0x20, isLetter(bytes[i - 1]), isLetter(bytes[i + 1]) { return i }
            if bytes[i] == 0x0A, isVisible(bytes, before: i), isVisible(bytes, at: i + 1) { return i + 1 }
        }
        return nil
    }

    private static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte | 0x20) }

    /// The scripts from Latin-1's letters to Arabic have the lead bytes C3 to DF, those of China and Korea E4 to ED;
    /// Unicode's spaces are all elsewhere.
    private static func isVisible(_ bytes: [UInt8], at i: Int) -> Bool {
        switch bytes[i] {
        case 0x21...0x7E, 0xC3...0xDF, 0xE4...0xED: true
        default: false
        }
    }

    private static func isVisible(_ bytes: [UInt8], before i: Int) -> Bool {
        if bytes[i - 1] < 0x80 { return isVisible(bytes, at: i - 1) }
        return i >= 2 && (0xC3...0xDF).contains(bytes[i - 2]) || i >= 3 && (0xE4...0xED).contains(bytes[i - 3])
    }
}
