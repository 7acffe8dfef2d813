import Attribution
import LinearAlgebra
import SparseCoding

extension PluginCheck {
    /// What a rule learns, and the form in which it is used.
    static let learningChecks = [
        PluginCheck(
            id: "learning", rules: ["DMSAE-LEARNED-03", "DMSAE-LEARNED-04", "DMSAE-LEARNED-06"],
            promise:
                "floors leave in what it keeps, gradients and penalty are written and finite, the same after other calls"
        ) { subject in
            let rule = try subject.rule()
            let learning = try required(rule.learning, "it learns nothing")
            let selection = Selection(seed: subject.seed)
            let context = selection.context(rule), marks = try selection.marks(rule)
            var floors = [Float](repeating: 0, count: context.latentCount)
            try floors.withUnsafeMutableBufferPointer { try learning.floors(context, into: $0) }
            for e in marks.indices where marks[e] == 1 {
                let j = Int(selection.candidates.columnIndices[e])
                try expect(
                    selection.candidates.values[e] > floors[j],
                    "it keeps \(selection.candidates.values[e]) of latent \(j), at or below its floor \(floors[j])")
            }
            let first = try selection.gradients(learning, rule, marks)
            _ = try Selection(seed: subject.seed, step: 90).gradients(learning, rule, marks)
            let second = try selection.gradients(learning, rule, marks)
            try expect(
                (first.all + [first.penalty]).map(\.bitPattern) == (second.all + [second.penalty]).map(\.bitPattern),
                "the same call gives other gradients")
        },
        PluginCheck(
            id: "learning-linear", rules: ["DMSAE-LEARNED-05"],
            promise: "gradients are those of the loss, in proportion to the gradient it is given, and of a penalty"
        ) { subject in
            let rule = try subject.rule()
            let learning = try required(rule.learning, "it learns nothing")
            let selection = Selection(seed: subject.seed)
            let marks = try selection.marks(rule)
            let none = try selection.gradients(learning, rule, marks, factor: 0)
            let once = try selection.gradients(learning, rule, marks, factor: 1)
            let twice = try selection.gradients(learning, rule, marks, factor: 2)
            // What is kept passes its value on, so that its own gradient goes with the loss's, whatever the surrogate.
            let code = selection.codeGradient(1)
            let along = marks.indices.filter { marks[$0] == 1 }.reduce(0.0) {
                $0 + Double(once.preactivations[$1] - none.preactivations[$1]) * Double(code[$1])
            }
            try expect(
                along > 0 || !marks.indices.contains { marks[$0] == 1 && code[$0] != 0 },
                "gradients of what it keeps go against the loss's gradient, or not with it: \(along)")
            for (z, (a, b)) in zip(none.all, zip(once.all, twice.all)) {
                // A power of two, so that only sums round.
                let most = 1e-5 * max(abs(z), abs(a), abs(b))
                try expect(
                    abs((b - z) - 2 * (a - z)) <= most,
                    "a gradient is \(z), \(a) and \(b) for 0, 1 and 2 times the same gradient of the loss")
            }
        },
        PluginCheck(
            id: "rescale", rules: ["DMSAE-LEARNED-07"],
            promise: "after rescale it keeps of scaled pre-activations what it kept before"
        ) { subject in
            let rule = try subject.rule()
            let learning = try required(rule.learning, "it learns nothing")
            let selection = Selection(seed: subject.seed)
            var context = selection.context(rule)
            context.mode = .infer
            func marks() throws -> [UInt8] {
                var marks = [UInt8](repeating: 0, count: selection.candidates.count)
                try marks.withUnsafeMutableBufferPointer {
                    try rule.select(from: selection.candidates, context, selected: $0)
                }
                return marks
            }
            let before = try marks()
            // A power of two, which rounds nothing.
            try learning.rescale(context.learnables, factor: 4)
            for e in 0..<selection.candidates.count { selection.candidates.values[e] *= 4 }
            try expect(try marks() == before, "it keeps others")
        },
        PluginCheck(
            id: "inference", rules: ["DMSAE-INFERENCE-01", "DMSAE-INFERENCE-02"],
            promise: "the form in which its SAEs are used keeps what it keeps"
        ) { subject in
            let rule = try subject.rule()
            let inference = try required(rule.inference, "it names no form")
            let selection = Selection(seed: subject.seed)
            let context = selection.context(rule)
            try applies(
                try inference.stateSize(latentCount: context.latentCount) == 0, "its form depends on calibration")
            let state = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 64)
            defer { state.deallocate() }
            let form = try inference.form(context, state: UnsafeRawBufferPointer(rebasing: state[..<0]))
            let marks = try selection.marks(rule, .infer, form: form)
            let codes = selection.candidates
            let kept = form.kept(of: codes)
            for r in 0..<codes.rows {
                let entries = codes.entries(ofRow: r)
                try expect(
                    entries.allSatisfy { (marks[$0] == 1) == kept.contains($0) },
                    "of token \(r) the form keeps others than the rule")
            }
        },
        PluginCheck(
            id: "calibration", rules: ["DMSAE-INFERENCE-01", "DMSAE-INFERENCE-02", "DMSAE-STATE-02"],
            promise:
                "calibrated on some batches, whole or in parts, in one process or several, its form keeps about as many "
                + "as it keeps itself"
        ) { subject in
            let rule = try subject.rule()
            let inference = try required(rule.inference, "it names no form")
            let calibration = Calibration(seed: subject.seed, areVaried: true)
            let size = try calibration.stateSize(inference)
            try applies(size > 0, "its form depends on no calibration")
            try expect(size <= 1 << 30, "it asks for a state of \(size) bytes for 60 latents")
            let whole = try calibration.state(rule, batches: 0..<6)
            let form = try calibration.form(rule, whole)
            let again = try calibration.form(rule, whole)
            try expect(form.numbers == again.numbers, "a second form of the same state is another one")
            let elsewhere = try calibration.form(try subject.rule(), whole)
            try expect(
                form.numbers == elsewhere.numbers,
                "its form is another one in another process: not all of it is in the state")
            // Parts that differ: what merge leaves out, or takes for the other, is seen.
            for cut in [1, 4] {
                let first = try calibration.state(rule, batches: 0..<cut)
                let second = try calibration.state(try subject.rule(), batches: cut..<6)
                try inference.merge(
                    latentCount: calibration.latents, state: first.bytes, other: UnsafeRawBufferPointer(second.bytes))
                let merged = try calibration.form(rule, first).numbers
                let most = (subject.has("merge-exact") ? 0 : 0.05) * (form.numbers.map(abs).max() ?? 0)
                try expect(
                    zip(form.numbers, merged).allSatisfy { abs($0 - $1) <= most },
                    "calibrated in two parts and merged, its form is another one than of the whole")
            }
            let even = Calibration(seed: subject.seed, areVaried: false)
            let (own, kept) = try even.counts(rule, even.form(rule, even.state(rule, batches: 0..<6)))
            try expect(
                2 * kept >= own && kept <= 2 * own,
                "its form keeps \(kept) of the entries that it was calibrated on, and it keeps \(own) itself")
        },
    ]
}

/// What backward wrote.
private struct Gradients {
    let preactivations: [Float]
    let tensors: [[Double]]
    let penalty: Double

    var all: [Double] { preactivations.map(Double.init) + tensors.flatMap { $0 } }
}

extension Selection {
    /// A gradient of the loss by the candidates that is positive, negative and zero, times `factor`.
    fileprivate func codeGradient(_ factor: Float) -> [Float] {
        (0..<candidates.count).map { factor * (Float($0 % 7) / 8 - 0.375) }
    }

    /// Backward of a gradient of the loss that is positive, negative and zero, times `factor`.
    fileprivate func gradients(
        _ learning: any SparsityRuleLearning, _ rule: any SparsityRule, _ marks: [UInt8], factor: Float = 1
    ) throws -> Gradients {
        let context = context(rule)
        let code = codeGradient(factor)
        var preactivation = code
        let tensors = learning.tensors.map { _ in
            UnsafeMutableBufferPointer<Double>.allocate(capacity: context.latentCount)
        }
        defer { for tensor in tensors { tensor.deallocate() } }
        for tensor in tensors { tensor.initialize(repeating: 0) }
        let penalty = try marks.withUnsafeBufferPointer { marks in
            try code.withUnsafeBufferPointer { code in
                try preactivation.withUnsafeMutableBufferPointer {
                    try learning.backward(
                        candidates, selected: marks, codeGradient: code, context, preactivationGradient: $0,
                        tensorGradients: tensors)
                }
            }
        }
        return Gradients(preactivations: preactivation, tensors: tensors.map(Array.init), penalty: penalty)
    }
}
