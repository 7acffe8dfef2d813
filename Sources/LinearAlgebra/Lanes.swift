import Glibc
import Synchronization

/// The one pool of threads that everything runs on.
///
/// Lane 0 is the caller; the others are threads that spin for a few microseconds after a task and then sleep, since
/// waking a sleeping thread costs more than most of our loops. Work is cut by position, never taken from a queue:
/// the same lane count gives the same cuts and therefore the same bits. A run inside a run stays on its lane. By hand,
/// since pools that schedule (Dispatch, OpenMP's default) promise neither.
public final class Lanes: Sendable {
    /// The program's lanes: `DMSAE_LANES` of them if set, else one for each processor that it may use.
    ///
    /// Ends the program where they cannot be started; `prepare` throws instead.
    public static var shared: Lanes {
        switch state {
        case .success(let lanes): lanes
        case .failure(let error): error.endProgram()
        }
    }

    /// Starts them, once.
    ///
    /// - Throws: `ResourceError`.
    public static func prepare() throws(ResourceError) { _ = try state.get() }

    private static let state: Result<Lanes, ResourceError> = Result { () throws(ResourceError) in
        try Lanes(starting: try requestedCount())
    }

    /// How many run at once.
    public let count: Int
    private let shared: SharedState

    /// Lanes beyond this number have nothing to do, and each takes memory.
    public static let most = 256

    /// What `DMSAE_LANES` asks for, or else `ProcessorShare.count`: how loops are cut, and so every bit, hangs on it.
    ///
    /// - Throws: `ResourceError.badVariable`.
    public static func requestedCount() throws(ResourceError) -> Int {
        guard let text = getenv("DMSAE_LANES").map({ String(cString: $0) }) else {
            return min(most, ProcessorShare.count)
        }
        guard let number = Int(text), (1...most).contains(number) else {
            throw .badVariable(name: "DMSAE_LANES", value: text, wanted: "a whole number from 1 to \(most)")
        }
        return number
    }

    /// A pool of its own; tests use it to compare lane counts.
    public convenience init(count: Int) {
        do throws(ResourceError) { try self.init(starting: max(1, count)) } catch { error.endProgram() }
    }

    private init(starting count: Int) throws(ResourceError) {
        self.count = count
        shared = SharedState(workers: count - 1)
        for lane in 1..<max(2, count) where lane < count {
            let start = Unmanaged.passRetained(LaneStart(lane: lane, state: shared))
            var thread = pthread_t()
            let result = pthread_create(
                &thread, nil,
                {
                    Unmanaged<LaneStart>.fromOpaque($0!).takeRetainedValue().loop()
                    return nil
                }, start.toOpaque())
            guard result == 0 else {
                start.release()
                shared.stop()
                throw .thread(lane: lane, lanes: count, reason: String(cString: strerror(result)))
            }
            pthread_detach(thread)
        }
    }

    deinit { shared.stop() }

    /// Runs `body(lane)` once on every lane and returns when all are done.
    public func run(_ body: (_ lane: Int) -> Void) {
        if count == 1 || !shared.enter() {
            for lane in 0..<count { body(lane) }
            return
        }
        withoutActuallyEscaping(body) { escaping in
            shared.publish(escaping)
            escaping(0)
            shared.finish()
        }
    }

    /// Cuts 0..<n into one contiguous range per lane, bounds at multiples of `grain`, and runs `body` on each range
    /// that is not empty. The cut depends on `n`, `grain` and the lane count only.
    public func forRanges(_ n: Int, grain: Int = 1, _ body: (_ lane: Int, _ range: Range<Int>) -> Void) {
        let blocks = (n + grain - 1) / grain
        if blocks <= 1 || count == 1 {
            if n > 0 { body(0, 0..<n) }
            return
        }
        run { lane in
            let first = blocks * lane / count * grain
            let last = min(n, blocks * (lane + 1) / count * grain)
            if first < last { body(lane, first..<last) }
        }
    }
}

private final class LaneStart: Sendable {
    let lane: Int
    let state: SharedState
    init(lane: Int, state: SharedState) {
        self.lane = lane
        self.state = state
    }
    func loop() { state.work(lane: lane) }
}

/// What the lanes share. `generation` announces a task, `pending` counts the lanes still at it; the mutex guards
/// only the sleep.
private final class SharedState: @unchecked Sendable {
    private let workers: Int
    private let generation = Atomic<Int>(0)
    private let pending = Atomic<Int>(0)
    private let sleeping = Atomic<Int>(0)
    private let busy = Atomic<Bool>(false)
    private let stopped = Atomic<Bool>(false)
    private var task: ((Int) -> Void)?
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init(workers: Int) {
        self.workers = workers
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(wake, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        pthread_cond_destroy(wake)
        mutex.deallocate()
        wake.deallocate()
    }

    /// False when a run is already in progress: the caller then keeps to its own thread.
    func enter() -> Bool { !busy.exchange(true, ordering: .acquiring) }

    func publish(_ body: @escaping (Int) -> Void) {
        task = body
        pending.store(workers, ordering: .relaxed)
        generation.add(1, ordering: .sequentiallyConsistent)
        if sleeping.load(ordering: .sequentiallyConsistent) > 0 { broadcast() }
    }

    func finish() {
        var spins = 0
        while pending.load(ordering: .acquiring) > 0 {
            spins += 1
            // A lane whose processor was taken by another process will not finish sooner because we spin.
            if spins > 20_000 { sched_yield() }
        }
        task = nil
        busy.store(false, ordering: .releasing)
    }

    func stop() {
        stopped.store(true, ordering: .sequentiallyConsistent)
        generation.add(1, ordering: .sequentiallyConsistent)
        broadcast()
    }

    func work(lane: Int) {
        var seen = 0
        while true {
            seen = waitForGeneration(after: seen)
            if stopped.load(ordering: .acquiring) { return }
            task!(lane)
            pending.subtract(1, ordering: .releasing)
        }
    }

    private func waitForGeneration(after seen: Int) -> Int {
        for _ in 0..<20_000 {
            let now = generation.load(ordering: .acquiring)
            if now != seen { return now }
        }
        pthread_mutex_lock(mutex)
        sleeping.add(1, ordering: .sequentiallyConsistent)
        while generation.load(ordering: .sequentiallyConsistent) == seen { pthread_cond_wait(wake, mutex) }
        sleeping.subtract(1, ordering: .sequentiallyConsistent)
        let now = generation.load(ordering: .acquiring)
        pthread_mutex_unlock(mutex)
        return now
    }

    private func broadcast() {
        pthread_mutex_lock(mutex)
        pthread_cond_broadcast(wake)
        pthread_mutex_unlock(mutex)
    }
}
