import Glibc
import PluginABI
import Synchronization
import LinearAlgebra

/// Calls made first one after the other and then by many threads at once, which must give the same bytes.
final class ConcurrentCalls: Sendable {
    private let call: @Sendable (Int) throws -> [UInt8]
    private let expected: [[UInt8]]
    private let end: Double
    private let found = Mutex<Finding>(Finding())

    private struct Finding {
        var difference: Int?
        var error: (any Error)?
        var isOver: Bool { difference != nil || error != nil }
    }

    /// The number of the first call, of `count`, that gave other bytes among others than alone; nil if none did.
    ///
    /// - Parameters:
    ///   - seconds: how long to look. With fewer processors than threads the calls meet where the system takes turns,
    ///     every few milliseconds, so a tenth of a second is many meetings.
    ///   - call: what the call of a number gives.
    /// - Throws: what a call throws.
    static func difference(
        count: Int, threads: Int = 4, seconds: Double = 0.15, call: @escaping @Sendable (Int) throws -> [UInt8]
    ) throws -> Int? {
        let calls = ConcurrentCalls(expected: try (0..<count).map(call), seconds: seconds, call)
        var started: [pthread_t] = []
        defer { for thread in started { pthread_join(thread, nil) } }
        for thread in 0..<threads {
            var id = pthread_t()
            let start = Unmanaged.passRetained(Start(calls: calls, thread: thread))
            let status = pthread_create(
                &id, nil,
                { argument in
                    guard let argument else { return nil }
                    let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
                    start.calls.run(from: start.thread)
                    return nil
                }, start.toOpaque())
            guard status == 0 else {
                start.release()
                throw SystemRefusal(what: "\(threads) threads", reason: String(cString: strerror(status)))
            }
            started.append(id)
        }
        while let thread = started.popLast() { pthread_join(thread, nil) }
        return try calls.found.withLock {
            if let error = $0.error { throw error }
            return $0.difference
        }
    }

    private final class Start: Sendable {
        let calls: ConcurrentCalls
        let thread: Int

        init(calls: ConcurrentCalls, thread: Int) {
            self.calls = calls
            self.thread = thread
        }
    }

    private init(expected: [[UInt8]], seconds: Double, _ call: @escaping @Sendable (Int) throws -> [UInt8]) {
        self.call = call
        self.expected = expected
        end = monotonicSeconds() + seconds
    }

    /// Makes the calls in turn, each thread from another one, until the time is over or somebody found something.
    private func run(from first: Int) {
        var number = first % expected.count
        while monotonicSeconds() < end, !found.withLock(\.isOver) {
            do {
                if try call(number) != expected[number] { found.withLock { $0.difference = number } }
            } catch {
                found.withLock { $0.error = error }
            }
            number = (number + 1) % expected.count
        }
    }
}
