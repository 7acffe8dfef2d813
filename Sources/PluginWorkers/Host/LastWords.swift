import CLinux
import Glibc
import PluginABI
import TensorFiles

/// The end of what a worker writes to standard error, taken from a pipe while the host waits for an answer.
///
/// A pipe holds 64 KiB and this a few more, however much is written. Nobody is stopped by it for good: a plugin that
/// writes while no call is made waits in `write` for the next one, and the worker itself writes nothing there.
final class LastWords {
    /// For the worker; the host closes it once the worker has its copy.
    private(set) var writingEnd: Int32
    private var readingEnd: Int32
    private var end: [UInt8] = []
    /// Of those kept, how many were written before the call that runs.
    private var old = 0
    private var chunk = [UInt8](repeating: 0, count: 1 << 16)

    /// Lines with this in them are nobody's words: frames of the worker's own, below those of a plugin.
    var frames: String?

    /// Bytes that are kept.
    private static let kept = 2000

    /// - Throws: `SystemRefusal`.
    init() throws {
        var ends: [Int32] = [-1, -1]
        // Reading must never wait: what a worker started may hold its end of the pipe open when it is gone.
        guard dmsae_pipe(&ends) == 0, fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0 else {
            throw SystemRefusal(what: "a pipe", reason: String(cString: strerror(errno)))
        }
        (readingEnd, writingEnd) = (ends[0], ends[1])
    }

    deinit {
        closeWritingEnd()
        if readingEnd >= 0 { close(readingEnd) }
    }

    /// Lets go of the worker's end.
    func closeWritingEnd() {
        if writingEnd >= 0 { close(writingEnd) }
        writingEnd = -1
    }

    /// For `poll`; -1, which it passes over, when all writers are gone.
    var descriptor: Int32 { readingEnd }

    /// Takes in what the pipe holds.
    func read() {
        guard readingEnd >= 0 else { return }
        let count = Glibc.read(readingEnd, &chunk, chunk.count)
        if count == 0 {
            close(readingEnd)
            readingEnd = -1
        }
        guard count > 0 else { return }
        let all = end + chunk[..<count]
        end = Array(all.suffix(Self.kept))
        old = max(0, old - (all.count - end.count))
    }

    /// What is written from now on is of another call.
    func beginCall() {
        read()
        old = end.count
    }

    /// As `text`, of what was written since `beginCall`.
    func textOfCall() -> String {
        read()
        return line(end[old...])
    }

    /// What is kept, with what the pipe still holds, on one line.
    func text() -> String {
        // Once: somebody who still writes may do so faster than this reads.
        read()
        return line(end[...])
    }

    private func line(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline)
            .filter { line in frames.map { !line.contains($0) } ?? true }.map { printable(String($0)) }
            .joined(separator: " | ")
    }
}
