import Glibc
import Synchronization
import LinearAlgebra

/// How long the running check may still take: a plugin that asks or logs without end gives signs of life without end.
final class CheckClock: Sendable {
    private let limit: Double
    private let end: Mutex<Double>

    /// A clock of `seconds` a check.
    init(seconds: Double) {
        limit = seconds
        end = Mutex(monotonicSeconds() + seconds)
    }

    /// Starts anew, for the next check.
    func restart() { end.withLock { $0 = monotonicSeconds() + limit } }

    /// Whether the time is over.
    func isOver() -> Bool { end.withLock { monotonicSeconds() > $0 } }

    /// Seconds a check.
    var seconds: Int { Int(limit) }
}

/// Waits until the calendar shows another second: what is drawn from it is then another.
func waitForNextSecond() {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    usleep(UInt32(max(0, 1_010_000 - time.tv_nsec / 1000)))
}
