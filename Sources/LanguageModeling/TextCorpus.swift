import Glibc
import TensorFiles

/// Documents in files: `.jsonl` with a member "text" on every line, `.txt` with lines holding only `<|endoftext|>`
/// between documents, or a folder of such files, read in the order of their names.
///
/// Read as a stream: memory does not grow with the corpus. A byte-order mark at the start of a file is no text.
public struct TextCorpus: Sendable {
    /// As given by the caller.
    public let path: String
    /// The files, in the order they are read.
    public let files: [String]
    /// Where lines of .jsonl that cannot be read are counted; nil where the first one is an error.
    let skipped: SkippedLines?

    /// How many lines were passed over, each counted once however often the corpus is read, and what was wrong with the
    /// first of them.
    public var skippedLines: (count: Int, first: TextError?) { skipped?.summary ?? (0, nil) }

    /// Finds the files; their contents are looked at when they are read.
    ///
    /// Throws `TextError.unreadable` for a missing path, an unknown kind of file or a folder without text.
    public init(path: String, skipsBadLines: Bool = false) throws {
        self.path = path
        skipped = skipsBadLines ? SkippedLines() : nil
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw TextError.unreadable(path: path, reason: String(cString: strerror(errno)))
        }
        if status.st_mode & S_IFMT == S_IFDIR {
            files = try Self.texts(in: path).map { path + "/" + $0 }
            if files.isEmpty { throw TextError.unreadable(path: path, reason: "no .jsonl or .txt file is in it") }
        } else {
            guard Self.isText(path) else {
                throw TextError.unreadable(path: path, reason: "its name ends in neither .jsonl nor .txt")
            }
            files = [path]
        }
    }

    /// The documents from the first on, piece by piece.
    public func pieces() -> TextPieces { TextPieces(corpus: self) }

    private static func isText(_ name: String) -> Bool { name.hasSuffix(".jsonl") || name.hasSuffix(".txt") }

    /// - Throws: `TextError.unreadable`, also for a text whose name is not UTF-8: a repaired name is that of no file.
    private static func texts(in folder: String) throws -> [String] {
        let names: [String]
        do {
            names = try namesInFolder(folder).filter { isText($0) && !$0.hasPrefix(".") }
        } catch TensorFileError.unreadable(_, let reason) {
            throw TextError.unreadable(path: folder, reason: reason)
        }
        if let bad = names.first(where: { $0.contains("\u{FFFD}") && !exists(folder + "/" + $0) }) {
            throw TextError.unreadable(path: folder, reason: "the name of a text in it, \(bad), is not UTF-8")
        }
        return names
    }
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

    init(corpus: TextCorpus) { self.corpus = corpus }

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
        guard nextFile < corpus.files.count else {
            if !foundText { throw TextError.empty(path: corpus.path) }
            return false
        }
        let path = corpus.files[nextFile]
        nextFile += 1
        readsJSON = path.hasSuffix(".jsonl")
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
            .malformedLine(file: corpus.files[nextFile - 1], line: reader!.lineNumber, what: what)
        }
        do {
            let value = try line.withUnsafeBytes { try JSONValue(parsing: $0) }
            guard value.object != nil else { throw malformed("it is \(value.shown), not an object") }
            guard let text = value["text"] else { throw malformed("there is no member \"text\"") }
            guard let string = text.string else { throw malformed("the member \"text\" is not a text") }
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
