import Glibc
import Ranks
import Synchronization

/// Ranks that are threads of this process: what they send is copied into a box, where the receiver finds it.
package final class ThreadTransport: Transport {
    package let rank: Int
    package let count: Int
    fileprivate let boxes: Boxes

    /// What is on its way, by sender and receiver.
    fileprivate final class Boxes: Sendable {
        let messages = Mutex<[Int: [[UInt8]]]>([:])
        /// Whether nothing comes any more.
        let isClosed = Atomic(false)
    }

    fileprivate init(_ rank: Int, of count: Int, _ boxes: Boxes) {
        (self.rank, self.count, self.boxes) = (rank, count, boxes)
    }

    package func exchange(_ sends: [Outgoing], _ receives: [Incoming], patiently: Bool) throws(RankError) {
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
                if boxes.isClosed.load(ordering: .relaxed) { throw .absent(ranks: [receive.source], seconds: 0) }
                // Seconds of the process: a rank that fails leaves the others waiting.
                if !patiently, clock() - start > 20 * Int(CLOCKS_PER_SEC) {
                    throw .absent(ranks: [receive.source], seconds: 20)
                }
                sched_yield()
            }
        }
    }
}

/// Runs `body` on each of `count` ranks at once, and returns what they return, by rank.
package func onRanks<Value>(
    _ count: Int, _ body: @escaping (RankGroup) throws -> Value
) throws -> [Value] { try onRanks(count, ThreadTransport.Boxes(), body) }

private func onRanks<Value>(
    _ count: Int, _ boxes: ThreadTransport.Boxes, _ body: @escaping (RankGroup) throws -> Value
) throws -> [Value] {
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

/// Runs `body` on rank 0 of `count`, the others serving it, and returns what it returns. After a failure in the middle of what they do
/// together the others have nothing to wait for, and end.
package func onRanks<Value>(
    _ count: Int, serving makers: [String: RankServiceMaker], _ body: @escaping (RankGroup) throws -> Value
) throws -> Value {
    let boxes = ThreadTransport.Boxes()
    let results: [Value?] = try onRanks(count, boxes) { group in
        guard group.rank == 0 else {
            do { try group.serve(makers) } catch RankError.absent(_, seconds: 0) {}
            return nil
        }
        defer { if group.isWhole { group.dismiss() } else { boxes.isClosed.store(true, ordering: .relaxed) } }
        return try body(group)
    }
    return results[0]!
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
