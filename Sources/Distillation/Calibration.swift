import Attribution
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// How long the parts of a run take here, measured on a little of each; nothing is kept.
public struct Calibration {
    /// Of the model up to the hook point, by token.
    public let model: Double
    /// Rows to train on among the tokens, a share.
    public let kept: Double
    /// Some of them, [N, d].
    let rows: Matrix
    /// The batches that the model was run on.
    let batches: [TokenBatch]

    /// Batches that are timed, after one that pays for fresh memory.
    private static let timedBatches = 3
    /// Steps likewise.
    private static let (firstSteps, timedSteps) = (3, 8)

    /// Runs the model on the first batches of a text.
    ///
    /// - Throws: what the model and the text throw; `DistillationError.nothingHarvested`, `.interrupted`.
    public init(
        _ model: any LanguageModel, at hook: HookPoint, _ policy: SplicePolicy, on next: TokenSource,
        progress: any ProgressSink, stop: StopRequest
    ) throws {
        progress.begin("time the model", total: 0, unit: "batches")
        defer { progress.end() }
        var (seconds, timed, tokens): (Double, Int, Int) = (0, 0, 0)
        var (rows, batches): ([[Float]], [TokenBatch]) = ([], [])
        while batches.count <= Self.timedBatches, let batch = try next() {
            try stop.check()
            let start = monotonicSeconds()
            let harvested = try HarvestedBatch(batch, model, at: hook, policy, token: tokens)
            // Of a text of one batch that one counts.
            if batches.count < 2 { (seconds, timed) = (0, 0) }
            seconds += monotonicSeconds() - start
            timed += batch.ids.count
            tokens += batch.ids.count
            let x = harvested.x
            rows += harvested.fates.indices.filter { harvested.fates[$0] == .row }.map { r in
                Array(UnsafeBufferPointer(start: x.row(r), count: x.columns))
            }
            batches.append(batch)
            progress.advance(by: 1, detail: "")
        }
        guard !rows.isEmpty else { throw DistillationError.nothingHarvested(tokens: tokens) }
        self.model = seconds / Double(timed)
        kept = Double(rows.count) / Double(tokens)
        self.rows = Matrix(rows: rows.count, columns: rows[0].count, rows.flatMap { $0 })
        self.batches = batches
    }

    /// Rows that were read from files.
    public init(rows: Matrix) { (model, kept, self.rows, batches) = (0, 1, rows, []) }

    /// Seconds a step of a recipe's trainings, without a core, and the SAE as the steps made it.
    package func step(
        of recipe: Recipe, rule: any SparsityRule, on device: any TrainingDevice, progress: any ProgressSink,
        stop: StopRequest
    ) throws -> (seconds: Double, sae: SparseAutoencoder) {
        let layout = try PrefixLayout(groups: recipe.resolvedGroups, width: recipe.width)
        try recipe.memory(dIn: rows.columns, layout, on: device).check()
        try device.check(layout, rule)
        let plan = try TrainingPlan(
            recipe.trainingSettings(k: recipe.k, budget: recipe.cycleBudget), dIn: rows.columns, layout: layout)
        let sae = SparseAutoencoder(dIn: rows.columns, layout: layout)
        sae.initialize(seed: UInt64(recipe.seed))
        return (try step(of: sae, plan: plan, rule: rule, on: device, progress: progress, stop: stop), sae)
    }

    /// Seconds a step of a training on batches of these rows. The SAE is left as the steps made it, and used with the k largest of
    /// a row.
    package func step(
        of sae: SparseAutoencoder, plan: TrainingPlan, rule: any SparsityRule, on device: any TrainingDevice,
        progress: any ProgressSink, stop: StopRequest
    ) throws -> Double {
        progress.begin("time the training", total: Self.firstSteps + Self.timedSteps, unit: "steps")
        defer { progress.end() }
        let scale = Float(rows.rootMeanSquareRowNorm)
        let trainer = try Trainer(sae, plan: plan, rule: rule, on: device)
        let batch = try trainer.makeBatch()
        var start = 0.0
        for step in 0..<Self.firstSteps + Self.timedSteps {
            try stop.check()
            if step == Self.firstSteps { start = monotonicSeconds() }
            for r in 0..<batch.rows {
                let source = rows.row((step * batch.rows + r) % rows.rows)
                for i in 0..<rows.columns { batch.row(r)[i] = source[i] / scale }
            }
            _ = try trainer.update(batch)
            progress.advance(by: 1, detail: "")
        }
        let seconds = (monotonicSeconds() - start) / Double(Self.timedSteps)
        try trainer.bringBack()
        sae.inference = .rowTopK(max(1, Int(plan.k)))
        sae.fold(inputScale: scale)
        return seconds
    }
}
