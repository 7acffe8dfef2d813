import Attribution
import SparseCoding

/// The function of a plugin that does its work, of whatever kind it is, on an input of its own.
struct MainCall {
    /// "score", "accumulate", "select".
    let name: String
    /// Calls it once: scores, the outputs of a pass of one batch, or marks.
    let run: () throws -> [Double]

    /// The call of a scorer: score, or a pass of one batch where it only accumulates.
    init(_ scorer: any AttributionScorer, on model: QuadraticModel) throws {
        let batch = model.asking, plan = model.plan
        if scorer.scoresTokens {
            name = "score"
            run = { try scorer.scores(batch).map(Double.init) }
            return
        }
        let accumulation = try required(scorer.accumulation, "it scores nothing")
        let size = try accumulation.stateSize(plan)
        try expect(size <= 1 << 30, "it asks for a state of \(size) bytes for one batch")
        name = "accumulate"
        run = {
            let state = State(size)
            var whole = plan
            whole.passCount = try accumulation.passCount(plan)
            try accumulation.begin(whole, state: state.bytes)
            try accumulation.forEachPass(plan) { try accumulation.accumulate(batch, $0, state: state.bytes) }
            return try accumulation.results(plan, state).flatMap { $0 }
        }
    }

    /// The call of a rule.
    init(_ rule: any SparsityRule, on selection: Selection) {
        name = "select"
        run = { try selection.marks(rule).map(Double.init) }
    }
}

/// A state of a scorer or a rule as a host keeps it: aligned, zero at first.
final class State {
    let bytes: UnsafeMutableRawBufferPointer
    private let memory: UnsafeMutableRawBufferPointer

    /// A state of `size` bytes.
    init(_ size: Int) {
        memory = .allocate(byteCount: max(64, size), alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        bytes = UnsafeMutableRawBufferPointer(start: memory.baseAddress, count: size)
    }

    deinit { memory.deallocate() }
}

extension AccumulatingScore {
    /// Every output of a state.
    func results(_ plan: ScoringPlan, _ state: State) throws -> [[Double]] {
        let results = outputs.map { UnsafeMutableBufferPointer<Double>.allocate(capacity: $0.count(plan)) }
        defer { for result in results { result.deallocate() } }
        for result in results { result.initialize(repeating: 0) }
        var plan = plan
        plan.passCount = try passCount(plan)
        try finish(plan, state: UnsafeRawBufferPointer(state.bytes), into: results)
        return results.map(Array.init)
    }
}

extension QuadraticModel {
    /// The pass whose one batch the model is.
    var plan: ScoringPlan {
        ScoringPlan(
            latentCount: batch.codes.columns, dimension: batch.decoder.columns,
            sequenceCount: batch.sequenceOffsets.count - 1, tokenCount: batch.codes.rows, coreCount: 0,
            errorTermAdded: false, evaluationBudget: budget)
    }
}
