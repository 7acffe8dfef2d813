import Glibc
import LinearAlgebra

/// The state of an accumulating score through one pass, and what it comes to.
public final class AccumulatedScore {
    /// Of the whole pass.
    public let plan: ScoringPlan
    private let score: any AccumulatingScore
    private let state: UnsafeMutableRawBufferPointer

    /// A state that has seen nothing.
    /// - Throws: what the score throws; `AttributionError.stateTooLarge`.
    public init(_ score: any AccumulatingScore, _ plan: ScoringPlan) throws {
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

    /// The outputs, each beside its description; output 0 is the score [m]. NaN: no evidence.
    public func results() throws -> [(output: ScorerOutput, values: [Double])] {
        let buffers = score.outputs.map { UnsafeMutableBufferPointer<Double>.allocate(capacity: $0.count(plan)) }
        defer { for buffer in buffers { buffer.deallocate() } }
        for buffer in buffers { buffer.initialize(repeating: 0) }
        try score.finish(plan, state: UnsafeRawBufferPointer(state), into: buffers)
        return zip(score.outputs, buffers).map { ($0, Array($1)) }
    }
}
