import LinearAlgebra
import PluginHost
import SparseCoding

/// Candidates of a batch and what a rule is told about it.
struct Selection {
    let candidates: SparseCodes
    let context: SelectionContext

    /// Candidates as a host would find them: positive, every third of a few equal values, or all equal.
    init(
        seed: UInt64, rows: Int = 40, latents: Int = 60, perRow: Int = 20, k: Double = 4, budget: Int? = nil,
        step: Int = 10, areEqual: Bool = false
    ) {
        let batch = QuadraticModel(
            seed: seed, sequences: 1, length: rows, latents: latents, dimensions: 1, perToken: perRow
        ).batch
        for e in 0..<batch.codes.count where e % 3 == 0 || areEqual {
            batch.codes.values[e] = areEqual ? 1 : (batch.codes.values[e] * 8).rounded(.up) / 8
        }
        self.init(
            batch.codes,
            SelectionContext(
                mode: .train, step: step, totalSteps: 100, batchRows: rows, latentCount: latents, meanActive: k,
                batchBudget: budget ?? Int(k * Double(rows))))
    }

    init(_ candidates: SparseCodes, _ context: SelectionContext) {
        self.candidates = candidates
        self.context = context
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

    /// What the rule keeps, told of a form's thresholds if it has one.
    func marks(_ rule: any SparsityRule, _ mode: SelectionMode? = nil, form: InferenceForm? = nil) throws -> [UInt8] {
        var context = context(rule)
        context.thresholds = form?.thresholds(context.latentCount)
        if let mode { context.mode = mode }
        var marks = [UInt8](repeating: 0, count: candidates.count)
        try marks.withUnsafeMutableBufferPointer { try rule.select(from: candidates, context, selected: $0) }
        return marks
    }

    /// Whether each candidate is among the `rule`'s upper count largest of its scope, the first in CSR order of those
    /// that are equal: by sorting all.
    func largest(_ rule: any SparsityRule) throws -> [Bool] {
        let upper = try rule.upperCount(context(rule))
        var isLargest = [Bool](repeating: false, count: candidates.count)
        let scopes = rule.scope == .row ? (0..<candidates.rows).map(candidates.entries(ofRow:)) : [0..<candidates.count]
        for scope in scopes {
            let sorted = scope.sorted { (-candidates.values[$0], $0) < (-candidates.values[$1], $1) }
            for e in sorted.prefix(upper) { isLargest[e] = true }
        }
        return isLargest
    }

    /// The entries of some rows that `isKept` leaves, as candidates of their own, and which they were.
    func part(rows: Range<Int>, where isKept: (Int) -> Bool = { _ in true }) -> (Selection, [Int]) {
        let part = SparseCodes(rows: rows.count, columns: candidates.columns, capacity: candidates.count)
        var entries: [Int] = []
        for r in rows {
            for e in candidates.entries(ofRow: r) where isKept(e) {
                part.columnIndices[entries.count] = candidates.columnIndices[e]
                part.values[entries.count] = candidates.values[e]
                entries.append(e)
            }
            part.rowOffsets[r - rows.lowerBound + 1] = Int64(entries.count)
        }
        var context = context
        context.firstRow = rows.lowerBound
        return (Selection(part, context), entries)
    }
}

extension PluginCheck.Subject {
    /// A fresh rule.
    func rule() throws -> any SparsityRule & LoadedPlugin { try plugin.rule() }
}
