import LinearAlgebra
import PluginHost
import SparseCoding

extension PluginCheck {
    /// A fresh rule; one that learns cannot be put to the test in a worker yet.
    static func rule(_ subject: Subject) throws -> any SparsityRule & LoadedPlugin {
        try applies(subject.plugin.isRule, "a scorer")
        do { return try subject.plugin.rule() } catch PluginError.onlyInProcess {
            throw NotApplicable(reason: "it learns, or names an inference form: those run in the host only")
        }
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

        func marks(_ rule: any SparsityRule) throws -> [UInt8] {
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
            try found.withUnsafeMutableBufferPointer { try rule.select(from: fewer, whole.context, selected: $0) }
            try expect(found == kept, "without the smallest candidates it marks others among the rest")
        },
    ]
}
