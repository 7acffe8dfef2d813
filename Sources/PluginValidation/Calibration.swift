import LinearAlgebra
import SparseCoding

/// Batches on which a rule's form is calibrated; varied ones have larger values the later they come.
struct Calibration {
    let latents = 60
    private let batches: [Selection]

    /// Draws six batches.
    init(seed: UInt64, areVaried: Bool) {
        batches = (0..<6).map { i in
            let selection = Selection(seed: seed &+ UInt64(i), step: 99)
            for e in 0..<(areVaried ? selection.candidates.count : 0) { selection.candidates.values[e] *= Float(1 + i) }
            return selection
        }
    }

    /// Bytes of its state, which do not change.
    func stateSize(_ inference: any SparsityRuleInference) throws -> Int {
        let size = try inference.stateSize(latentCount: latents), again = try inference.stateSize(latentCount: latents)
        try expect(size == again, "it asks for a state of \(size) bytes, and of \(again) when asked again")
        return size
    }

    private func inference(_ rule: any SparsityRule) throws -> any SparsityRuleInference {
        try required(rule.inference, "it names no form")
    }

    /// The state after some of the batches, each shown with what the rule keeps of it.
    func state(_ rule: any SparsityRule, batches range: Range<Int>) throws -> State {
        let inference = try inference(rule), state = State(try inference.stateSize(latentCount: latents))
        for selection in batches[range] {
            var context = selection.context(rule)
            context.mode = .calibrate
            let marks = try selection.marks(rule, .calibrate)
            try marks.withUnsafeBufferPointer {
                try inference.calibrate(selection.candidates, selected: $0, context, state: state.bytes)
            }
        }
        return state
    }

    /// The form that a state gives.
    func form(_ rule: any SparsityRule, _ state: State) throws -> InferenceForm {
        var context = batches[0].context(rule)
        context.mode = .infer
        return try inference(rule).form(context, state: UnsafeRawBufferPointer(state.bytes))
    }

    /// How many entries of all batches the rule keeps in use, and how many its form.
    func counts(_ rule: any SparsityRule, _ form: InferenceForm) throws -> (own: Int, form: Int) {
        try batches.reduce((0, 0)) { counts, selection in
            let marks = try selection.marks(rule, .infer, form: form)
            return (counts.0 + marks.count { $0 == 1 }, counts.1 + form.kept(of: selection.candidates).count)
        }
    }
}

extension InferenceForm {
    /// Thresholds, or k.
    var numbers: [Float] {
        switch self {
        case .threshold(let shared): [shared]
        case .thresholds(let thresholds): thresholds
        case .rowTopK(let k): [Float(k)]
        }
    }

    /// θ [1, F]; nil where rank decides.
    func thresholds(_ count: Int) -> Matrix? {
        switch self {
        case .threshold(let shared): Matrix(vector: [Float](repeating: shared, count: count))
        case .thresholds(let thresholds): Matrix(vector: thresholds)
        case .rowTopK: nil
        }
    }

    /// Entries that are active under this form.
    func kept(of codes: SparseCodes) -> Set<Int> {
        switch self {
        case .threshold(let shared): return Set((0..<codes.count).filter { codes.values[$0] > max(0, shared) })
        case .thresholds(let thresholds):
            return Set((0..<codes.count).filter { codes.values[$0] > max(0, thresholds[Int(codes.columnIndices[$0])]) })
        case .rowTopK(let k):
            return Set(
                (0..<codes.rows).flatMap { row in
                    codes.entries(ofRow: row).sorted { (-codes.values[$0], $0) < (-codes.values[$1], $1) }.prefix(k)
                })
        }
    }
}
