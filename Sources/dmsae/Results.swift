@preconcurrency import Glibc
import Synchronization
import TensorFiles

/// Standard output, where results go and nothing else; `print` of this module writes here.
enum Results {
    private static let stream = Mutex(Stream(file: stdout))

    private struct Stream: @unchecked Sendable {
        var file: UnsafeMutablePointer<FILE>?
        /// Why the first write that failed did: whoever asks at the end finds another error, or none.
        var failure: Int32?
    }

    /// From now on what others write to standard output, as a plugin in this process may, goes to standard error.
    static func keepToThemselves() {
        stream.withLock {
            guard $0.file == stdout else { return }
            fflush(stdout)
            // Where standard output is closed there is nothing to keep, and the first result says so.
            let copy = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
            guard copy >= 0, let own = fdopen(copy, "w"), dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 else { return }
            $0.file = own
        }
    }

    fileprivate static func write(_ text: String) {
        note { fputs(text, $0) }
    }

    /// Brings what was printed so far to whoever reads it.
    static func flush() { note { fflush($0) } }

    private static func note(_ put: (UnsafeMutablePointer<FILE>?) -> Int32) {
        let isFirstRefusal = stream.withLock {
            guard put($0.file) < 0, $0.failure == nil else { return false }
            $0.failure = errno
            return errno == EPIPE && Interruption.isInstalled
        }
        if isFirstRefusal {
            Terminal.shared.warn("nobody reads standard output any more; the work goes on, without printing results")
        }
    }

    /// `print` does not say that a disk was full or a descriptor closed; a result that was lost is a failure. That a reader
    /// closed its end is not: it has what it wanted.
    /// - Throws: `TensorFileError.unwritable`.
    static func requireWritten() throws {
        flush()
        guard let failure = stream.withLock({ $0.failure }) else { return }
        if failure == EPIPE {
            if Interruption.isInstalled { return }
            ProgramEnd.end(128 + SIGPIPE)
        }
        throw TensorFileError.unwritable(file: "standard output", reason: AtomicFile.reason(failure))
    }
}

/// Prints a result, fit for a terminal; in place of the standard library's.
func print(_ text: String, terminator: String = "\n") { Results.write(printableLines(text) + terminator) }
