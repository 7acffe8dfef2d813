import Glibc
import TensorFiles

/// `events.jsonl`: one JSON object a line, appended as things happen.
///
/// A kill can cut the last line short; on opening, such a rest is cut off, so that every line stays whole.
public final class EventLog {
    private let descriptor: Int32
    private let path: String

    /// Opens or creates the log.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public init(_ path: String) throws {
        self.path = path
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else {
            throw TensorFileError.unwritable(file: path, reason: String(cString: strerror(errno)))
        }
        dropPartialLine()
    }

    deinit { close(descriptor) }

    /// Appends one event.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public func append(_ event: some Encodable) throws {
        let line = Array((try JSONRecord.text(event, pretty: false) + "\n").utf8)
        let written = line.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard written == line.count else {
            let reason = written < 0 ? String(cString: strerror(errno)) : "the disk is full"
            throw TensorFileError.unwritable(file: path, reason: reason)
        }
    }

    private func dropPartialLine() {
        var end = lseek(descriptor, 0, SEEK_END)
        var byte: UInt8 = 0
        while end > 0, pread(descriptor, &byte, 1, end - 1) == 1, byte != UInt8(ascii: "\n") { end -= 1 }
        ftruncate(descriptor, end)
        lseek(descriptor, end, SEEK_SET)
    }
}
