import Attribution
import PluginHost
import SparseCoding

/// The function of a plugin that does its work, of whatever kind it is, on an input of its own.
struct MainCall {
    /// "score", "accumulate", "select".
    let name: String
    /// Calls it once.
    let run: () throws -> Void

    /// The call of a scorer: score, or a shard of one batch where it only accumulates.
    init(_ scorer: any AttributionScorer, on model: QuadraticModel) throws {
        let batch = model.asking, plan = model.plan
        if scorer.scoresTokens {
            name = "score"
            run = { _ = try scorer.scores(batch) }
            return
        }
        guard let accumulation = scorer.accumulation else {
            throw PluginCheck.NotApplicable(reason: "it scores nothing")
        }
        let size = try accumulation.stateSize(plan)
        name = "accumulate"
        run = {
            let state = UnsafeMutableRawBufferPointer.allocate(byteCount: max(64, size), alignment: 64)
            defer { state.deallocate() }
            state.initializeMemory(as: UInt8.self, repeating: 0)
            let used = UnsafeMutableRawBufferPointer(start: state.baseAddress, count: size)
            try accumulation.begin(plan, state: used)
            try accumulation.accumulate(batch, plan, state: used)
        }
    }

    /// The call of a rule.
    init(_ rule: any SparsityRule, on selection: Selection) {
        name = "select"
        run = { _ = try selection.marks(rule) }
    }
}

extension QuadraticModel {
    /// The pass whose one batch the model is.
    var plan: ScoringPlan {
        ScoringPlan(
            latentCount: batch.codes.columns, dimension: batch.decoder.columns,
            sequenceCount: batch.sequenceOffsets.count - 1, tokenCount: batch.codes.rows, coreCount: 0,
            errorTermAdded: false)
    }
}
