import Glibc
import TensorFiles

/// `events.jsonl`: one JSON object a line, appended as things happen.
///
/// A kill can cut the last line short; on opening, such a rest is cut off, so that every line stays whole. Whoever opens
/// one has the `OutputLock` of its folder.
public final class EventLog {
    private let descriptor: Int32
    private let path: String
    /// Of a log that replaces an older one: what it is written to until it is committed.
    public let replacement: AtomicFile?
    /// What was written to the replacement, for a checkpoint of what it is the log of; empty without one.
    private(set) var text = ""
    /// Gets the numbers of every event too, where it is asked for.
    public var board: TensorBoardLog?

    /// The first line of a run's log.
    private struct RunEvent: Codable {
        var event = "run"
        /// `RunRecord.identity` of the run whose events follow.
        var identity: String
    }

    /// Opens or creates the log of the run with this identity; without one, any log.
    ///
    /// - Throws: `TensorFileError.unwritable`, also for a link, which could lead anywhere; `DistillationError.logOfAnother`.
    public init(_ path: String, run identity: String? = nil) throws {
        self.path = path
        replacement = nil
        descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else {
            let reason = errno == ELOOP ? "it is a link" : String(cString: strerror(errno))
            throw TensorFileError.unwritable(file: path, reason: reason)
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw TensorFileError.unwritable(file: path, reason: "it is not a file")
        }
        dropPartialLine()
        guard let identity else { return }
        if lseek(descriptor, 0, SEEK_END) == 0 {
            try append(RunEvent(identity: identity))
        } else {
            try Self.requireRun(identity, in: path)
        }
    }

    /// Refuses a log whose first line does not say that it is of this run.
    ///
    /// - Throws: `TensorFileError.unreadable`; `DistillationError.logOfAnother`.
    package static func requireRun(_ identity: String, in path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw TensorFileError.unreadable(file: path, reason: String(cString: strerror(errno)))
        }
        defer { close(descriptor) }
        var block = [UInt8](repeating: 0, count: 4096)
        let count = block.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
        let line = String(decoding: block.prefix(max(count, 0)).prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        guard let first = try? JSONRecord.decode(RunEvent.self, from: line, in: path), first.event == "run",
            first.identity == identity
        else { throw DistillationError.logOfAnother(path: path) }
    }

    /// A new log in the place of an older one, which stays until `replacement` is committed.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public init(replacing path: String) throws {
        self.path = path
        descriptor = -1
        replacement = try AtomicFile(path: path)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Appends one event.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public func append(_ event: some Encodable) throws {
        try append(lines: try JSONRecord.text(event, pretty: false) + "\n")
        if let drawn = event as? any DrawnEvent { try board?.append(drawn) }
    }

    /// Appends whole lines, those of a log that was cut short.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    func append(lines: String) throws {
        let line = Array(lines.utf8)
        if let replacement {
            text += lines
            return try line.withUnsafeBytes { try replacement.write($0) }
        }
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
        var block = [UInt8](repeating: 0, count: 1 << 16)
        while end > 0 {
            let start = max(0, end - block.count)
            let count = block.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, end - start, off_t(start)) }
            guard count == end - start else { break }
            if let newline = block[..<count].lastIndex(of: UInt8(ascii: "\n")) {
                end = start + newline + 1
                break
            }
            end = start
        }
        ftruncate(descriptor, off_t(end))
        lseek(descriptor, off_t(end), SEEK_SET)
    }
}
