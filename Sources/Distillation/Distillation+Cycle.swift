import Attribution
import LinearAlgebra
import SparseCoding
import TensorFiles

/// One line of `events.jsonl` when a cycle is done.
private struct CycleEvent: Encodable {
    let event = "cycle"
    let record: CycleRecord
}

extension Distillation {
    private static let cycleFiles =
        ["metrics.json", "core.json", "core.safetensors", "scores.safetensors"] + SAEFolder.files.map { "sae/" + $0 }

    /// Cycle t: train with the last core frozen, score, select; read back if it is done already.
    ///
    /// - Parameter mark: SHA-256 of the last step's mark; this one's afterwards.
    func cycle(
        _ t: Int, frozen: Core?, _ store: ActivationStore, _ scoring: [SpliceSample], _ evaluation: EvaluationSet,
        mark: inout String
    ) throws -> (CycleRecord, Core) {
        let name = "cycle-\(t)"
        if run.has(name + "/" + StepMark.name) { return try finishedCycle(t, dIn: store.record.dIn, mark: &mark) }
        let folder = try place(name)
        let encoder = try frozen.map { _ in
            try Core.encoderRows(at: run.path + "/cycle-\(t - 1)/core.json", dIn: store.record.dIn)
        }
        let (sae, record) = try trainOne(
            name, k: recipe.k, seed: seed(t), core: encoder, budget: recipe.cycleBudget, store, evaluation,
            folder: name + "/sae")
        var (core, scores) = try select(sae, t, previous: frozen, scoring, name)
        _ = try place(name)
        let origin = try scoringSettings(of: folder + "/sae")
        core.origin = origin
        var writer = SafetensorsWriter(metadata: origin)
        writer.add("scores", doubles: scores)
        writer.add("core", integers: core.latents.map { Int64($0.index) })
        try writer.write(to: folder + "/scores.safetensors")
        try core.write(encoder: core.encoderRows(of: sae), to: folder)
        let cycle = CycleRecord(
            cycle: t, sae: record, coreSize: core.latents.count, carriedOver: core.carriedOver, jaccard: core.jaccard,
            coverage: core.coverage, candidates: core.candidates)
        try log?.append(CycleEvent(record: cycle))
        try JSONRecord.write(cycle, to: folder + "/metrics.json")
        try lock?.requireInPlace()
        mark = try StepMark.write(Self.cycleFiles, of: folder, run: identity, after: mark)
        return (cycle, core)
    }

    /// How a cycle's scores, and the core selected by them, came about.
    private func scoringSettings(of sae: String) throws -> [String: String] {
        var settings = [
            "SAE.sha256": try SHA256.hexadecimal(ofFile: SAEFolder.weights(in: sae)),
            "SAE_configuration.sha256": try SHA256.hexadecimal(ofFile: SAEFolder.configuration(in: sae)),
            "model": parts.modelName, "keep_first": "\(recipe.keepFirst)",
            "sinks": "\(recipe.sinks)",
            "sequences": "\(recipe.sequences)", "decoder_norms": "unit", "dmsae": parts.version,
            "scorer": recipe.scorer, "scorer.id": parts.scorer.name, "scorer.version": parts.scorer.version,
            "aggregate": recipe.aggregate, "over": recipe.over.rawValue, "signed": "\(recipe.signed)",
            "tau": "\(recipe.tau)", "tokens": "\(recipe.scoreTokens)",
        ]
        settings.merge(recipe.hookPoint.entries) { $1 }
        settings["scorer.settings"] = parts.scorerSettings.map { "\($0.key)=\($0.value)" }.sorted().joined(
            separator: ",")
        for (key, value) in parts.hashes { settings["\(key).sha256"] = value }
        settings["model.sha256"] = ModelPlace.modelHash(parts.hashes)
        return settings
    }

    /// Reads a cycle back whole, so that a damaged file is found now and not as another result later.
    private func finishedCycle(_ t: Int, dIn: Int, mark: inout String) throws -> (CycleRecord, Core) {
        let folder = run.path + "/cycle-\(t)"
        do {
            mark = try StepMark.check(Self.cycleFiles, of: folder, run: identity, after: mark)
            let record = try JSONRecord.read(CycleRecord.self, from: folder + "/metrics.json")
            let core = try Core.read(folder + "/core.json", width: recipe.width)
            guard record.cycle == t, core.cycle == t, record.sae.seed == seed(t), record.sae.width == recipe.width
            else {
                throw DistillationError.stepDiffers("\(folder)/metrics.json is of another cycle or seed")
            }
            guard record.coreSize == core.latents.count, record.carriedOver == core.carriedOver else {
                throw DistillationError.badCore(
                    path: folder + "/core.json", reason: "it is not the core that metrics.json tells of")
            }
            let frozen = try Core.encoderRows(at: folder + "/core.json", dIn: dIn)
            let sae = try SAEFolder.read(folder + "/sae").sae
            guard sae.dSAE == recipe.width, sae.dIn == dIn, frozen.values == core.encoderRows(of: sae).values else {
                throw DistillationError.badCore(
                    path: folder + "/core.safetensors", reason: "its encoder vectors are not those of sae")
            }
            return (record, core)
        } catch {
            throw DistillationError.badStep(folder: folder, reason: "\(error)")
        }
    }

    /// Trains, folds, evaluates and saves one SAE.
    func trainOne(
        _ name: String, k: Double, seed: UInt64, core: Matrix?, budget: BudgetScope, _ store: ActivationStore,
        _ evaluation: EvaluationSet, folder: String
    ) throws -> (SparseAutoencoder, SAERecord) {
        let layout = try PrefixLayout(
            groups: recipe.resolvedGroups, width: recipe.width, coreCount: core?.rows ?? 0)
        let plan = try TrainingPlan(
            recipe.trainingSettings(k: k, budget: budget), dIn: store.record.dIn, layout: layout)
        if budget == .total, let core, let warning = FailureSignature.beforeTotalBudget(core: core.rows, k: k) {
            progress.warn("\(name): \(warning)")
        }
        let sae = SparseAutoencoder(dIn: store.record.dIn, layout: layout)
        sae.initialize(seed: seed, core: core, coreDecoder: recipe.coreDecoder)
        let trainer = try Trainer(sae, plan: plan, rule: parts.rule, on: parts.device)
        let reader = try store.reader(batch: plan.batchSize, seed: seed)
        let scale = Float(store.record.inputScale)
        let training = TrainingRun(name: name, steps: plan.steps, progress: progress, stop: stop, lock: lock)
        let provenance = provenance(plan, store.record, seed: seed)
        let outcome: TrainingOutcome
        do {
            outcome = try training.train(
                trainer, from: { reader.read(step: $0, scale: scale, into: $1) }, log: log, inputScale: scale)
        } catch let error as TrainedWithoutForm {
            let kept = try place(folder)
            try SAEFolder.write(sae, provenance, to: kept)
            throw error.kept(in: kept)
        }
        if let warning = outcome.warning(rule: parts.rule) { progress.warn("\(name): \(warning)") }
        progress.begin("evaluate \(name)", total: recipe.evaluationTokens, unit: "tokens")
        let metrics = try evaluation.evaluate(sae) {
            try stop.check()
            progress.advance(by: $0, detail: "")
        }
        progress.end()
        try SAEFolder.write(sae, provenance, to: try place(folder))
        let record = SAERecord(
            seed: seed, frozenCore: layout.coreCount, lastStep: outcome.last,
            deadLatents: trainer.tokensSinceFired.count { $0 >= plan.deadAfterTokens }, width: sae.dSAE,
            evaluation: metrics)
        return (sae, record)
    }

    private func provenance(_ plan: TrainingPlan, _ store: ActivationStoreRecord, seed: UInt64) -> SAEProvenance {
        var provenance = SAEProvenance()
        provenance.model = parts.modelName
        provenance.hookPoint = recipe.hookPoint
        provenance.contextLength = recipe.context
        provenance.seed = seed
        provenance.inputScale = store.inputScale
        provenance.rule = "\(parts.rule.name) \(parts.rule.version)"
        provenance.ruleSettings = parts.ruleSettings
        provenance.settings = [
            "core decoder start": recipe.coreDecoder.rawValue, "input scale": "measured", "order": "shuffled",
        ].merging(parts.device.record) { $1 }
        provenance.hashes = parts.hashes.filter { !$0.key.hasPrefix("scorer") && !$0.key.hasPrefix("evaluation text") }
        provenance.plan = plan
        provenance.steps = plan.steps
        return provenance
    }

    private func select(
        _ sae: SparseAutoencoder, _ t: Int, previous: Core?, _ scoring: [SpliceSample], _ name: String
    ) throws -> (Core, [Double]) {
        let spliced = try SplicedPass(model: parts.model, hook: recipe.hookPoint, sae: sae)
        let means = MeanActivations(spliced, sequences: scoring.count, step: 1) { scoring[$0.lowerBound] }
        let pass = ScoringPass(spliced, scorer: parts.scorer, means: means)
        let aggregate = try Aggregate(recipe.aggregate)
        let accumulator = ScoreAccumulator(
            latents: pass.candidateCount, tokens: scoring.reduce(0) { $0 + $1.tokenCount }, aggregate: aggregate,
            scope: recipe.over, isSigned: recipe.signed)
        try pass.begin(
            sequences: scoring.reduce(0) { $0 + $1.tokens.sequenceCount },
            tokens: scoring.reduce(0) { $0 + $1.tokenCount })
        progress.begin("score \(name)", total: recipe.scoreTokens, unit: "tokens")
        defer { progress.end() }
        for sample in scoring {
            try stop.check()
            try pass.accumulate([sample], into: accumulator) { progress.advance(by: $0, detail: "") }
        }
        let scores = try pass.totals(accumulator)
        let selection = try CoreSelection(
            scores, fraction: recipe.tau, tokens: accumulator.tokenCount,
            measure: parts.scorer.scoresTokens
                ? .aggregate(aggregate, recipe.over, isSigned: recipe.signed) : .total(parts.scorer.name))
        return (Core(selection, scores: scores, cycle: t, previous: previous), scores)
    }
}
