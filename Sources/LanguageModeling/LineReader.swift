import TensorFiles

/// Reads a file line by line through a buffer, whatever its size, unpacked where it is packed; a byte-order mark at its start is passed
/// over.
struct LineReader {
    private let path: String
    private let bytes: ByteStream
    private var buffer: [UInt8] = []
    private var start = 0
    private var ended = false
    private var continuesLine = false
    private var encoding: EncodingCheck?
    /// Number of the line that was returned last, from 1.
    private(set) var lineNumber = 0

    private static let chunk = 1 << 20
    /// A line that is read whole is held in memory; this is a thousand long novels.
    private static let longestLine = 1 << 30

    /// A line without its end ("\n" or "\r\n"), or a part of one.
    struct Part {
        let bytes: ArraySlice<UInt8>
        /// Whether the line begins and ends with this part.
        let (begins, ends): (Bool, Bool)
    }

    /// Throws `TextError.unreadable`, also for text that begins as other encodings than UTF-8 do. With `requiresUTF8` every
    /// byte is looked at as it is read, and reading throws `TextError.notUTF8`. What a damaged file is unpacked to throws
    /// `TensorFileError.malformed`.
    init(path: String, requiresUTF8: Bool) throws {
        self.path = path
        bytes = try TextError.ofText { try ByteStream(path: path) }
        while buffer.count < 4, !ended { try fill() }
        if let other = unreadableEncoding(buffer) {
            throw TextError.unreadable(path: path, reason: "it is \(other) text, not UTF-8: convert or unpack it")
        }
        if requiresUTF8 {
            encoding = EncodingCheck()
            try check(buffer[...])
        }
        if buffer.starts(with: byteOrderMark) { start = byteOrderMark.count }
    }

    /// The next line, whole; nil after the last.
    mutating func next() throws -> ArraySlice<UInt8>? {
        var searched = start
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) { return line(to: end) }
            searched = buffer.count - start
            if ended { return rest() }
            guard searched < Self.longestLine else {
                throw TextError.unreadable(
                    path: path, reason: "line \(lineNumber + 1) is longer than \(Self.longestLine) bytes")
            }
            try fill()
        }
    }

    /// The next line if it ends within a chunk, otherwise as much of it as is there; nil after the last.
    mutating func nextPart() throws -> Part? {
        var searched = start
        let begins = !continuesLine
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                continuesLine = false
                return Part(bytes: line(to: end, countsLine: begins), begins: begins, ends: true)
            }
            searched = buffer.count - start
            if ended {
                continuesLine = false
                return rest(countsLine: begins).map { Part(bytes: $0, begins: begins, ends: true) }
            }
            // A return at the end of the part may belong to a line end that is not read yet.
            if searched >= Self.chunk, buffer.last != UInt8(ascii: "\r") {
                defer { start = buffer.count }
                continuesLine = true
                if begins { lineNumber += 1 }
                return Part(bytes: buffer[start...], begins: begins, ends: false)
            }
            try fill()
        }
    }

    private mutating func line(to end: Int, countsLine: Bool = true) -> ArraySlice<UInt8> {
        defer { start = end + 1 }
        if countsLine { lineNumber += 1 }
        let hasReturn = end > start && buffer[end - 1] == UInt8(ascii: "\r")
        return buffer[start..<(hasReturn ? end - 1 : end)]
    }

    /// What stands behind the last line end.
    private mutating func rest(countsLine: Bool = true) -> ArraySlice<UInt8>? {
        guard start < buffer.count else { return nil }
        defer { start = buffer.count }
        if countsLine { lineNumber += 1 }
        return buffer[start...]
    }

    private mutating func check(_ bytes: ArraySlice<UInt8>) throws {
        guard let offset = encoding?.firstBadByte(in: bytes, isLast: ended) else { return }
        throw TextError.notUTF8(path: path, offset: offset)
    }

    /// Drops what was returned and appends a chunk.
    private mutating func fill() throws {
        buffer.removeSubrange(..<start)
        start = 0
        let present = buffer.count
        buffer.append(contentsOf: repeatElement(0, count: Self.chunk))
        let count = try TextError.ofText {
            try buffer.withUnsafeMutableBytes {
                try bytes.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[present...]))
            }
        }
        buffer.removeLast(Self.chunk - count)
        ended = count == 0
        try check(buffer[present...])
    }
}

extension TextError {
    /// Does `work`, and has what cannot be read be a text.
    static func ofText<Result>(_ work: () throws -> Result) throws -> Result {
        do { return try work() } catch TensorFileError.unreadable(let path, let reason) {
            throw TextError.unreadable(path: path, reason: reason)
        }
    }
}
