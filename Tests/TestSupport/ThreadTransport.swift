import Glibc
import Ranks
import Synchronization

/// Ranks that are threads of this process: what they send is copied into a box, where the receiver finds it.
package final class ThreadTransport: Transport {
    package let rank: Int
    package let count: Int
    private let boxes: Boxes

    /// What is on its way, by sender and receiver.
    fileprivate final class Boxes: Sendable {
        let messages = Mutex<[Int: [[UInt8]]]>([:])
    }

    fileprivate init(_ rank: Int, of count: Int, _ boxes: Boxes) {
        (self.rank, self.count, self.boxes) = (rank, count, boxes)
    }

    package func exchange(_ sends: [Outgoing], _ receives: [Incoming]) throws(RankError) {
        for send in sends {
            boxes.messages.withLock { $0[rank * count + send.target, default: []].append(Array(send.bytes)) }
        }
        for receive in receives {
            let start = clock()
            while true {
                let found: [UInt8]? = boxes.messages.withLock { messages in
                    guard let first = messages[receive.source * count + rank]?.first else { return nil }
                    messages[receive.source * count + rank]!.removeFirst()
                    return first
                }
                if let found {
                    precondition(found.count == receive.bytes.count, "\(found.count) bytes for \(receive.bytes.count)")
                    receive.bytes.copyBytes(from: found)
                    break
                }
                // Seconds of the process: a rank that fails leaves the others waiting.
                if clock() - start > 20 * Int(CLOCKS_PER_SEC) { throw .absent(ranks: [receive.source], seconds: 20) }
                sched_yield()
            }
        }
    }
}

/// Runs `body` on each of `count` ranks at once, and returns what they return, by rank.
package func onRanks<Value>(
    _ count: Int, _ body: @escaping (RankGroup) throws -> Value
) throws -> [Value] {
    let boxes = ThreadTransport.Boxes()
    let jobs = (0..<count).map { rank in
        Job { try body(RankGroup(ThreadTransport(rank, of: count, boxes))) }
    }
    let threads = jobs.map { job in
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                Unmanaged<JobBase>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, Unmanaged<JobBase>.passRetained(job).toOpaque())
        precondition(code == 0, "a thread")
        return thread
    }
    for thread in threads { pthread_join(thread, nil) }
    return try jobs.map { try $0.result!.get() }
}

private class JobBase {
    func run() {}
}

private final class Job<Value>: JobBase {
    private let body: () throws -> Value
    var result: Result<Value, any Error>?

    init(_ body: @escaping () throws -> Value) { self.body = body }

    override func run() { result = Result { try body() } }
}
