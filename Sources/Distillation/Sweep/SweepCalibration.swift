import LinearAlgebra
import SparseCoding

/// What a training step costs here, measured on a few.
public enum SweepCalibration {
    private static let (warm, measured) = (2, 6)

    /// Seconds of a step of a plan, on activations drawn at random; the first steps, which set up, do not count.
    ///
    /// - Throws: what the trainer throws; `ResourceError` for what does not fit into memory.
    package static func secondsOfAStep(
        of recipe: Recipe, dIn: Int, rule: any SparsityRule, on device: any TrainingDevice,
        clock: () -> Double = monotonicSeconds
    ) throws -> Double {
        let layout = try PrefixLayout(groups: recipe.resolvedGroups, width: recipe.width)
        let plan = try TrainingPlan(recipe.trainingSettings(k: recipe.k, budget: .nonCore), dIn: dIn, layout: layout)
        try TrainingPlan.memory(
            dIn: dIn, layout: layout, k: recipe.k, batch: recipe.batch, advice: "lower sae.width or train.batch"
        ).check()
        let sae = SparseAutoencoder(dIn: dIn, layout: layout)
        sae.initialize(seed: 1, core: nil)
        let trainer = try Trainer(TrainerState(sae, rule: rule), plan: plan, rule: rule, on: device)
        let batch = try trainer.makeBatch()
        let random = CounterRandom(seed: 1, purpose: .test)
        for i in 0..<batch.count { batch.elements[i] = Float(random.uniform(UInt64(i))) - 0.5 }
        for _ in 0..<min(warm, plan.steps - 1) { _ = try trainer.update(batch) { nil } }
        let steps = min(measured, plan.steps - min(warm, plan.steps - 1)), start = clock()
        for _ in 0..<steps { _ = try trainer.update(batch) { nil } }
        return (clock() - start) / Double(steps)
    }
}
