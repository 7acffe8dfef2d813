import LinearAlgebra
import PluginHost
import SparseCoding

extension PluginCheck {
    /// A fresh rule.
    static func rule(_ subject: Subject) throws -> any SparsityRule & LoadedPlugin {
        try applies(subject.plugin.isRule, "a scorer")
        return try subject.plugin.rule()
    }

    private struct Selection {
        let candidates: SparseCodes
        let context: SelectionContext

        /// Candidates as a host would find them: positive, some of them equal.
        init(seed: UInt64, rows: Int = 40, latents: Int = 60, perRow: Int = 20, k: Double = 4, step: Int = 10) {
            let batch = QuadraticModel(
                seed: seed, sequences: 1, length: rows, latents: latents, dimensions: 1, perToken: perRow
            ).batch
            for e in 0..<batch.codes.count where e % 3 == 0 {
                batch.codes.values[e] = (batch.codes.values[e] * 8).rounded(.up) / 8
            }
            candidates = batch.codes
            context = SelectionContext(
                mode: .train, step: step, totalSteps: 100, batchRows: rows, latentCount: latents, meanActive: k,
                batchBudget: Int(k * Double(rows)))
        }

        /// The context with the rule's tensors as they start.
        func context(_ rule: any SparsityRule) -> SelectionContext {
            var context = context
            context.learnables = (rule.learning?.tensors ?? []).map {
                let tensor = Matrix(rows: 1, columns: context.latentCount)
                tensor.fill(Float($0.initial))
                return tensor
            }
            return context
        }

        func marks(_ rule: any SparsityRule) throws -> [UInt8] {
            let context = context(rule)
            var marks = [UInt8](repeating: 0, count: candidates.count)
            try marks.withUnsafeMutableBufferPointer { try rule.select(from: candidates, context, selected: $0) }
            return marks
        }
    }

    static let ruleChecks = [
        PluginCheck(
            id: "selection", rules: ["DMSAE-RULE-01", "DMSAE-RULE-03"],
            promise: "it marks with 0 and 1, no more than its upper count, whatever the sizes"
        ) { subject in
            let rule = try rule(subject)
            for (rows, latents, perRow, k) in [
                (40, 60, 20, 4.0), (2, 1, 1, 1), (3, 500, 200, 64), (40, 60, 20, 0.5), (40, 60, 2, 30),
            ] {
                let selection = Selection(
                    seed: subject.seed, rows: rows, latents: latents, perRow: perRow, k: k)
                _ = try selection.marks(rule)
            }
        },
        PluginCheck(
            id: "selection-again", rules: ["DMSAE-RULE-05"],
            promise: "it depends on what it is given, not on earlier calls"
        ) { subject in
            let rule = try rule(subject)
            let selection = Selection(seed: subject.seed)
            let first = try selection.marks(rule)
            for other in 1..<4 { _ = try Selection(seed: subject.seed &+ UInt64(other), step: other).marks(rule) }
            try expect(try selection.marks(rule) == first, "after other calls it marks other entries")
            try expect(
                try selection.marks(PluginCheck.rule(subject)) == first, "in another process it marks other entries")
        },
        PluginCheck(
            id: "selection-largest", rules: ["DMSAE-RULE-05", "DMSAE-RULE-02"],
            promise: "candidates below its upper count largest do not matter"
        ) { subject in
            let rule = try rule(subject)
            try applies(rule.scope != .all, "it looks at all candidates")
            let whole = Selection(seed: subject.seed)
            let marks = try whole.marks(rule)
            // Drop, in each row, what is smaller than everything that was marked in the batch.
            let least = zip(0..<whole.candidates.count, marks).reduce(Float.infinity) {
                $1.1 != 0 ? min($0, whole.candidates.values[$1.0]) : $0
            }
            var kept: [UInt8] = []
            let fewer = SparseCodes(
                rows: whole.candidates.rows, columns: whole.candidates.columns, capacity: whole.candidates.count)
            var at = 0
            for r in 0..<whole.candidates.rows {
                for e in whole.candidates.entries(ofRow: r) where whole.candidates.values[e] >= least {
                    fewer.columnIndices[at] = whole.candidates.columnIndices[e]
                    fewer.values[at] = whole.candidates.values[e]
                    kept.append(marks[e])
                    at += 1
                }
                fewer.rowOffsets[r + 1] = Int64(at)
            }
            var found = [UInt8](repeating: 0, count: at)
            try found.withUnsafeMutableBufferPointer { try rule.select(from: fewer, whole.context(rule), selected: $0) }
            try expect(found == kept, "without the smallest candidates it marks others among the rest")
        },
        PluginCheck(
            id: "learning", rules: ["DMSAE-LEARNED-03", "DMSAE-LEARNED-04", "DMSAE-LEARNED-06"],
            promise: "floors leave in what it keeps, gradients and penalty are written and finite, twice the same"
        ) { subject in
            let rule = try rule(subject)
            guard let learning = rule.learning else { throw NotApplicable(reason: "it learns nothing") }
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
            func gradients() throws -> ([Float], [[Double]], Double) {
                let code = marks.indices.map { Float($0 % 7) / 7 - 0.4 }
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
                                selection.candidates, selected: marks, codeGradient: code, context,
                                preactivationGradient: $0, tensorGradients: tensors)
                        }
                    }
                }
                return (preactivation, tensors.map(Array.init), penalty)
            }
            let (first, second) = (try gradients(), try gradients())
            try expect(
                first.0 == second.0 && first.1 == second.1 && first.2 == second.2, "the same call gives other gradients"
            )
        },
        PluginCheck(
            id: "rescale", rules: ["DMSAE-LEARNED-07"],
            promise: "after rescale it keeps of scaled pre-activations what it kept before"
        ) { subject in
            let rule = try rule(subject)
            guard let learning = rule.learning else { throw NotApplicable(reason: "it learns nothing") }
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
            let rule = try rule(subject)
            guard let inference = rule.inference else { throw NotApplicable(reason: "it names no form") }
            let selection = Selection(seed: subject.seed)
            var context = selection.context(rule)
            try applies(
                try inference.stateSize(latentCount: context.latentCount) == 0, "its form depends on calibration")
            let state = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 64)
            defer { state.deallocate() }
            let form = try inference.form(context, state: UnsafeRawBufferPointer(rebasing: state[..<0]))
            context.mode = .infer
            var marks = [UInt8](repeating: 0, count: selection.candidates.count)
            try marks.withUnsafeMutableBufferPointer {
                try rule.select(from: selection.candidates, context, selected: $0)
            }
            let codes = selection.candidates
            for r in 0..<codes.rows {
                let entries = Array(codes.entries(ofRow: r))
                let kept: Set<Int>
                switch form {
                case .thresholds(let thresholds):
                    kept = Set(entries.filter { codes.values[$0] > max(0, thresholds[Int(codes.columnIndices[$0])]) })
                case .rowTopK(let k):
                    kept = Set(entries.sorted { (-codes.values[$0], $0) < (-codes.values[$1], $1) }.prefix(k))
                }
                try expect(
                    Set(entries.filter { marks[$0] == 1 }) == kept, "of token \(r) the form keeps others than the rule")
            }
        },
    ]
}
