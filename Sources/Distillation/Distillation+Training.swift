import Attribution
import LinearAlgebra
import SparseCoding
import TensorFiles

/// A trained SAE from which the next goes on.
struct WarmStart {
    /// It reads raw activations.
    let sae: SparseAutoencoder
    /// Latents that became the core.
    let selected: [Int]
}

extension Distillation {
    static let trainedFiles = ["metrics.json"] + SAEFolder.files

    /// Trains, folds, evaluates and saves one SAE into `folder` of the run; read back if that is done already, gone on with from
    /// its last checkpoint if it was cut short.
    ///
    /// - Parameters:
    ///   - mark: SHA-256 of the mark of the step before the one that this is a part of.
    ///   - steps: those of the recipe for nil.
    ///   - warm: what latents outside of the core begin as; drawn anew for nil.
    ///   - beside: other files in the folder that are a part of the step.
    func trainOne(
        _ name: String, k: Double, seed: UInt64, core: FrozenCore?, budget: BudgetScope, _ store: any ActivationSource,
        _ evaluation: EvaluationSet, folder: String, after mark: String, steps: Int? = nil,
        warm: WarmStart? = nil, beside: [String] = []
    ) throws -> (SparseAutoencoder, SAERecord) {
        let files = Self.trainedFiles + beside
        let path = try place(folder)
        let checkpoints = TrainingCheckpoints(
            into: path, causes: Causes(["run": identity, "training": name, "step before": mark]),
            policy: parts.checkpoints, lock: lock)
        if run.has(folder + "/" + StepMark.name) {
            checkpoints.clear()
            return try finishedTraining(path, files, seed: seed, dIn: store.dIn, after: mark)
        }
        let layout = try PrefixLayout(
            groups: recipe.resolvedGroups, width: recipe.width, coreCount: core?.count ?? 0,
            coreIsPrefix: recipe.corePrefixLoss)
        var settings = recipe.trainingSettings(k: k, budget: budget, steps: steps)
        settings.coreRate = core?.rate
        if warm != nil { settings.decoderBiasStart = .keep }
        let plan = try TrainingPlan(settings, dIn: store.dIn, layout: layout)
        if budget == .total, let core, core.mode == .dense,
            let warning = FailureSignature.beforeTotalBudget(core: core.count, k: k)
        {
            progress.warn("\(name): \(warning)")
        }
        let scale = Float(store.inputScale)
        let sae = SparseAutoencoder(dIn: store.dIn, layout: layout, coreIsDense: core?.mode != .sparse)
        sae.initialize(
            seed: seed, core: core?.encoder, coreDecoder: recipe.coreDecoder,
            coreBias: core?.biases.map { biases in Matrix(vector: biases.values.map { $0 / scale }) })
        if let warm { sae.continueNonCore(of: warm.sae, except: warm.selected, inputScale: scale) }
        let batches = try store.batches(of: plan.batchSize, seed: seed)
        checkpoints.batches = batches
        var state = TrainerState(sae, rule: parts.rule)
        _ = try checkpoints.restore(&state, log: nil, warn: progress.warn)
        let trainer = try Trainer(state, plan: plan, rule: parts.rule, on: parts.device)
        var training = TrainingRun(name: name, steps: plan.steps, progress: progress, stop: stop, lock: lock)
        training.checkpoints = checkpoints
        var provenance = provenance(plan, store, seed: seed, hasCore: core != nil)
        if warm != nil { provenance.settings?["non-core start"] = NonCoreStart.warm.rawValue }
        let outcome: TrainingOutcome
        do {
            outcome = try training.train(
                trainer, from: { try batches.read(step: $0, scale: scale, into: $1) }, log: log, inputScale: scale)
        } catch let error as TrainedWithoutForm {
            let kept = try place(folder)
            try SAEFolder.write(sae, provenance, to: kept)
            throw error.kept(in: kept)
        }
        if let warning = outcome.warning(rule: parts.rule) { progress.warn("\(name): \(warning)") }
        let metrics = try evaluate(sae, evaluation, name)
        try SAEFolder.write(sae, provenance, to: try place(folder))
        let record = SAERecord(
            seed: seed, frozenCore: layout.coreCount, lastStep: outcome.last,
            deadLatents: trainer.tokensSinceFired.count { $0 >= plan.deadAfterTokens }, width: sae.dSAE,
            evaluation: metrics)
        try JSONRecord.write(record, to: path + "/metrics.json")
        try lock?.requireInPlace()
        try StepMark.write(files, of: path, run: identity, after: mark)
        checkpoints.clear()
        return (sae, record)
    }

    /// Evaluates an SAE that was trained before, in the place of a training.
    func adopt(
        _ start: StartingSAE, _ evaluation: EvaluationSet, folder: String
    ) throws -> (SparseAutoencoder, SAERecord) {
        let place = ModelPlace(name: parts.modelName, hashes: parts.hashes, hook: recipe.hookPoint)
        for sentence in start.provenance.place.differences(of: start.path, from: place) { progress.warn(sentence) }
        for sentence in start.provenance.remarks { progress.warn("\(start.path): \(sentence)") }
        let metrics = try evaluate(start.sae, evaluation, folder)
        try SAEFolder.write(start.sae, start.provenance, to: try self.place(folder))
        return (start.sae, SAERecord(frozenCore: 0, width: start.sae.dSAE, evaluation: metrics))
    }

    private func evaluate(
        _ sae: SparseAutoencoder, _ evaluation: EvaluationSet, _ name: String
    ) throws -> EvaluationRecord {
        progress.begin("evaluate \(name)", total: recipe.evaluationTokens, unit: "tokens")
        defer { progress.end() }
        return try evaluation.evaluate(sae) {
            try stop.check()
            progress.advance(by: $0, detail: "")
        }
    }

    /// A training that was finished in a step that was not.
    private func finishedTraining(
        _ path: String, _ files: [String], seed: UInt64, dIn: Int, after mark: String
    ) throws -> (SparseAutoencoder, SAERecord) {
        do {
            _ = try StepMark.check(files, of: path, run: identity, after: mark)
            let record = try JSONRecord.read(SAERecord.self, from: path + "/metrics.json")
            let sae = try SAEFolder.read(path).sae
            guard record.seed == seed, record.width == recipe.width, sae.dSAE == recipe.width, sae.dIn == dIn else {
                throw DistillationError.stepDiffers("\(path) is of another seed or shape")
            }
            return (sae, record)
        } catch {
            throw DistillationError.badStep(folder: path, reason: "\(error)")
        }
    }

    private func provenance(
        _ plan: TrainingPlan, _ store: any ActivationSource, seed: UInt64, hasCore: Bool
    ) -> SAEProvenance {
        var provenance = SAEProvenance()
        provenance.model = parts.modelName
        provenance.hookPoint = recipe.hookPoint
        provenance.contextLength = recipe.context
        provenance.seed = seed
        provenance.inputScale = store.inputScale
        provenance.rule = "\(parts.rule.name) \(parts.rule.version)"
        provenance.ruleSettings = parts.ruleSettings
        var settings = ["input scale": "measured", "order": store.order].merging(parts.device.record) { $1 }
        // Only then: a training without a core is the same whatever a later one begins with.
        if hasCore {
            settings["core decoder start"] = recipe.coreDecoder.rawValue
            settings["core bias start"] = recipe.coreBias.rawValue
        }
        provenance.settings = settings
        provenance.hashes = parts.hashes.filter { !$0.key.hasPrefix("scorer") && !$0.key.hasPrefix("evaluation text") }
        provenance.plan = plan
        provenance.steps = plan.steps
        return provenance
    }
}
