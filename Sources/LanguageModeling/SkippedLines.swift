import Synchronization

/// Lines of a corpus that could not be read and were passed over.
final class SkippedLines: Sendable {
    private struct State {
        var count = 0
        var first: TextError?
        /// The last line looked at, by file: a corpus is read more than once.
        var last: [Int: Int] = [:]
    }

    private let state = Mutex(State())

    var summary: (count: Int, first: TextError?) { state.withLock { ($0.count, $0.first) } }

    /// Counts a line unless it was counted before.
    func add(file: Int, line: Int, _ error: TextError) {
        state.withLock {
            guard line > $0.last[file] ?? 0 else { return }
            $0.last[file] = line
            $0.count += 1
            $0.first = $0.first ?? error
        }
    }
}
