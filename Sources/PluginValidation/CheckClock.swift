import Glibc
import Synchronization

/// How long the running check may still take: a plugin that asks or logs without end gives signs of life without end.
final class CheckClock: Sendable {
    private let limit: Double
    private let end: Mutex<Double>

    /// A clock of `seconds` a check.
    init(seconds: Double) {
        limit = seconds
        end = Mutex(now() + seconds)
    }

    /// Starts anew, for the next check.
    func restart() { end.withLock { $0 = now() + limit } }

    /// Whether the time is over.
    func isOver() -> Bool { end.withLock { now() > $0 } }

    /// Seconds a check.
    var seconds: Int { Int(limit) }
}

/// Seconds of a clock that only runs forwards.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Waits until the calendar shows another second: what is drawn from it is then another.
func waitForNextSecond() {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    usleep(UInt32(max(0, 1_010_000 - time.tv_nsec / 1000)))
}
