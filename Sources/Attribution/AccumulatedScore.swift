import Glibc
import LinearAlgebra

/// The state of an accumulating score through one pass, and what it comes to.
public final class AccumulatedScore {
    /// Of the whole pass.
    public private(set) var plan: ScoringPlan
    private let score: any AccumulatingScore
    private let state: UnsafeMutableRawBufferPointer

    /// A state that has seen nothing.
    /// - Throws: what the score throws; `AttributionError.stateTooLarge`.
    public init(_ score: any AccumulatingScore, _ plan: ScoringPlan) throws {
        var plan = plan
        plan.passCount = try score.passCount(plan)
        self.score = score
        self.plan = plan
        let size = try score.stateSize(plan)
        // malloc succeeds for more than there is; the limit is what a checkpoint of a pass may reasonably be.
        guard size <= 1 << 36, let memory = aligned_alloc(64, max(64, (size + 63) / 64 * 64)) else {
            throw AttributionError.stateTooLarge(bytes: size)
        }
        memset(memory, 0, max(64, (size + 63) / 64 * 64))
        state = UnsafeMutableRawBufferPointer(start: memory, count: size)
        try score.begin(plan, state: state)
    }

    deinit { free(state.baseAddress) }

    /// Adds a batch; batches come in order.
    public func add(_ batch: ScoringBatch) throws { try score.accumulate(batch, plan, state: state) }

    /// Which pass over the batches it is in.
    var pass: Int {
        get { plan.pass }
        set { plan.pass = newValue }
    }

    /// A copy of the state.
    var bytes: [UInt8] { Array(state) }

    /// Goes on from a stored state.
    /// - Throws: `AttributionError.otherState` for one of another size.
    func restore(_ bytes: [UInt8], from path: String) throws {
        guard bytes.count == state.count else {
            throw AttributionError.otherState(path: path, bytes: bytes.count, wanted: state.count)
        }
        state.copyBytes(from: bytes)
    }

    /// Adds the stored state of the sequences that follow.
    /// - Throws: what the score throws; `AttributionError.otherState` for a state of another size.
    func merge(_ bytes: [UInt8], from path: String) throws {
        guard bytes.count == state.count else {
            throw AttributionError.otherState(path: path, bytes: bytes.count, wanted: state.count)
        }
        let other = UnsafeMutableRawBufferPointer.allocate(byteCount: max(64, bytes.count), alignment: 64)
        defer { other.deallocate() }
        other.copyBytes(from: bytes)
        try score.merge(
            plan, state: state, other: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(other)[..<bytes.count]))
    }

    /// The outputs, each beside its description; output 0 is the score [m]. NaN: no evidence.
    public func results() throws -> [(output: ScorerOutput, values: [Double])] {
        let buffers = score.outputs.map { UnsafeMutableBufferPointer<Double>.allocate(capacity: $0.count(plan)) }
        defer { for buffer in buffers { buffer.deallocate() } }
        for buffer in buffers { buffer.initialize(repeating: 0) }
        try score.finish(plan, state: UnsafeRawBufferPointer(state), into: buffers)
        return zip(score.outputs, buffers).map { ($0, Array($1)) }
    }
}
