import Glibc

/// Reads a file line by line through a buffer, whatever its size.
struct LineReader {
    private let path: String
    private let file: FileDescriptorOwner
    private var buffer: [UInt8] = []
    private var start = 0
    private var ended = false
    /// Number of the line that `next` returned last, from 1.
    private(set) var lineNumber = 0

    private static let chunk = 1 << 20
    /// A line is held in memory whole; this is a thousand long novels.
    private static let longestLine = 1 << 30

    /// Throws `TextError.unreadable`.
    init(path: String) throws {
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw TextError.unreadable(path: path, reason: String(cString: strerror(errno)))
        }
        file = FileDescriptorOwner(descriptor)
    }

    /// The next line without its end ("\n" or "\r\n"); nil after the last.
    mutating func next() throws -> ArraySlice<UInt8>? {
        var searched = start
        while true {
            if let end = buffer[searched...].firstIndex(of: UInt8(ascii: "\n")) {
                defer { start = end + 1 }
                lineNumber += 1
                let hasReturn = end > start && buffer[end - 1] == UInt8(ascii: "\r")
                return buffer[start..<(hasReturn ? end - 1 : end)]
            }
            searched = buffer.count
            if ended {
                guard start < buffer.count else { return nil }
                defer { start = buffer.count }
                lineNumber += 1
                return buffer[start...]
            }
            searched -= start
            guard buffer.count - start < Self.longestLine else {
                throw TextError.unreadable(
                    path: path, reason: "line \(lineNumber + 1) is longer than \(Self.longestLine) bytes")
            }
            try fill()
        }
    }

    /// Drops what was returned and appends a chunk.
    private mutating func fill() throws {
        buffer.removeSubrange(..<start)
        start = 0
        let present = buffer.count
        buffer.append(contentsOf: repeatElement(0, count: Self.chunk))
        var count = 0
        repeat {
            count = buffer.withUnsafeMutableBytes { read(file.descriptor, $0.baseAddress! + present, Self.chunk) }
        } while count < 0 && errno == EINTR
        guard count >= 0 else { throw TextError.unreadable(path: path, reason: String(cString: strerror(errno))) }
        buffer.removeLast(Self.chunk - count)
        ended = count == 0
    }
}

/// Closes a descriptor when the last reader of it goes.
private final class FileDescriptorOwner: Sendable {
    let descriptor: Int32
    init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }
}
