import Glibc
import TensorFiles

/// `events.jsonl`: one JSON object a line, appended as things happen.
///
/// A kill can cut the last line short; on opening, such a rest is cut off, so that every line stays whole. The log is
/// locked while it is open: of two programs that write the same run, the second is turned away.
public final class EventLog {
    private let descriptor: Int32
    private let path: String

    /// Opens or creates the log; `anew` drops what an earlier task wrote.
    ///
    /// - Throws: `TensorFileError.unwritable`; `DistillationError.inUse` while another program has it open.
    public init(_ path: String, anew: Bool = false) throws {
        self.path = path
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else {
            throw TensorFileError.unwritable(file: path, reason: String(cString: strerror(errno)))
        }
        // A file system without locks is not a reason to stop.
        if flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK {
            close(descriptor)
            throw DistillationError.inUse(path: path)
        }
        if anew { ftruncate(descriptor, 0) }
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
            // Cut short by a limit, the next write would say so.
            let reason =
                written < 0 ? AtomicFile.reason(errno) : "the disk is full, or the file at its limit (ulimit -f)"
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
