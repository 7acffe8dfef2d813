import Attribution
import Glibc
import LinearAlgebra
import SparseCoding
import TensorFiles

/// One line of `events.jsonl` when a cycle is done.
struct CycleEvent: Encodable {
    let event = "cycle"
    /// nil of the only one.
    let seed: Int?
    let record: CycleRecord
}

extension Distillation {
    static let cycleFiles =
        ["metrics.json", "core.json", "core.safetensors", "scores.safetensors"] + SAEFolder.files.map { "sae/" + $0 }

    /// Cycle t with each of some seeds: train with the last core frozen, score, select; read back if it is done already.
    ///
    /// - Parameter body: is called when a seed has its record of it.
    func cycle(
        _ t: Int, of seeds: [SeedRun], _ store: any ActivationSource, _ scoring: [SpliceSample],
        _ evaluation: EvaluationSet, _ body: (SeedRun, CycleRecord) throws -> Void
    ) throws {
        func record(_ seed: SeedRun, _ outcome: (CycleRecord, Core)) throws {
            seed.cycles.append(outcome.0)
            seed.core = outcome.1
            try body(seed, outcome.0)
        }
        func finish(_ seed: SeedRun, _ sae: SparseAutoencoder, _ trained: SAERecord) throws {
            try record(seed, finishCycle(t, sae, trained, previous: seed.core, scoring, mark: &seed.mark))
        }
        var open: [SeedRun] = []
        for seed in seeds {
            try at(seed) {
                let name = prefix + "cycle-\(t)"
                if run.has(name + "/" + StepMark.name) {
                    try record(seed, finishedCycle(t, dIn: store.dIn, mark: &seed.mark))
                } else if t == 0, let start = parts.start {
                    let (sae, trained) = try adopt(start, evaluation, folder: name + "/sae")
                    try finish(seed, sae, trained)
                } else {
                    open.append(seed)
                }
            }
        }
        for part in open.parts(of: trainedTogether) {
            let requests = try part.map { seed in try at(seed) { try request(of: t, after: seed, dIn: store.dIn) } }
            try train(requests, store, evaluation) { i, sae, trained in
                try at(part[i]) { try finish(part[i], sae, trained) }
            }
        }
    }

    /// The training of cycle t with the seed that is at work.
    private func request(of t: Int, after seed: SeedRun, dIn: Int) throws -> TrainingRequest {
        let name = prefix + "cycle-\(t)"
        // Before anything is read: a run that was moved says so.
        _ = try place(name)
        let core = try seed.core.map { _ in
            FrozenCore(
                try CoreVectors(at: run.path + "/\(prefix)cycle-\(t - 1)/core.json", dIn: dIn, recipe.coreBias),
                mode: recipe.coreMode, rate: recipe.coreRate, recipe)
        }
        return TrainingRequest(
            name: name, k: recipe.k, seed: self.seed(t), core: core, budget: recipe.cycleBudget, folder: name + "/sae",
            mark: seed.mark, steps: recipe.resolvedCycleSteps,
            warm: try recipe.nonCore == .warm ? seed.core.map { try lastLatents(of: t, not: $0) } : nil)
    }

    /// Scores the SAE of cycle t, selects, and writes what came of it.
    ///
    /// - Parameter mark: SHA-256 of the last step's mark; this one's afterwards.
    private func finishCycle(
        _ t: Int, _ sae: SparseAutoencoder, _ record: SAERecord, previous: Core?, _ scoring: [SpliceSample],
        mark: inout String
    ) throws -> (CycleRecord, Core) {
        let name = prefix + "cycle-\(t)"
        let folder = try place(name)
        var (selected, scores) = try select(sae, t, previous: previous, scoring, name, after: mark)
        _ = try place(name)
        let origin = try scoringSettings(of: folder + "/sae", isFolded: t == 0 && parts.start?.hadDecoderNorms == true)
        selected.origin = origin
        var writer = SafetensorsWriter(metadata: origin)
        writer.add("scores", doubles: scores)
        writer.add("core", integers: selected.latents.map { Int64($0.index) })
        try writer.write(to: folder + "/scores.safetensors")
        try selected.write(
            encoder: selected.encoderRows(of: sae), biases: selected.encoderBiases(of: sae), to: folder)
        let cycle = CycleRecord(
            cycle: t, sae: record, coreSize: selected.latents.count, carriedOver: selected.carriedOver,
            jaccard: selected.jaccard,
            coverage: selected.coverage, candidates: selected.candidates)
        try log?.append(CycleEvent(seed: recipe.seeds > 1 ? recipe.seed : nil, record: cycle))
        try JSONRecord.write(cycle, to: folder + "/metrics.json")
        try lock?.requireInPlace()
        mark = try StepMark.write(Self.cycleFiles, of: folder, run: identity, after: mark)
        unlink(scoringState(name))
        return (cycle, selected)
    }

    /// How a cycle's scores, and the core selected by them, came about.
    private func scoringSettings(of sae: String, isFolded: Bool) throws -> [String: String] {
        var settings = [
            "SAE.sha256": try SHA256.hexadecimal(ofFile: SAEFolder.weights(in: sae)),
            "SAE_configuration.sha256": try SHA256.hexadecimal(ofFile: SAEFolder.configuration(in: sae)),
            "model": parts.modelName, "keep_first": "\(recipe.keepFirst)",
            "sinks": "\(recipe.sinks)",
            "sequences": "\(recipe.sequences)", "decoder_norms": isFolded ? "folded" : "unit", "dmsae": parts.version,
            "scorer": recipe.scorer, "scorer.id": parts.scorer.name, "scorer.version": parts.scorer.version,
            "aggregate": recipe.aggregate, "over": recipe.over.rawValue, "signed": "\(recipe.signed)",
            "tau": "\(recipe.tau)", "tokens": "\(recipe.scoreTokens)",
        ]
        settings.merge(recipe.hookPoint.entries) { $1 }
        if recipe.candidates == .all { settings["candidates"] = recipe.candidates.rawValue }
        settings["scorer.settings"] = parts.scorerSettings.map { "\($0.key)=\($0.value)" }.sorted().joined(
            separator: ",")
        // Versions of interpreters stand among hashes as they are.
        for (key, value) in parts.hashes { settings[key.contains(" runtime ") ? key : "\(key).sha256"] = value }
        settings["model.sha256"] = ModelPlace.modelHash(parts.hashes)
        return settings
    }

    /// The SAE before cycle t, and which of its latents became the core.
    private func lastLatents(of t: Int, not core: Core) throws -> WarmStart {
        let last = try SAEFolder.read(run.path + "/\(prefix)cycle-\(t - 1)/sae").sae
        return WarmStart(sae: last, selected: core.latents.map(\.index))
    }

    /// Reads a cycle back whole, so that a damaged file is found now and not as another result later.
    private func finishedCycle(_ t: Int, dIn: Int, mark: inout String) throws -> (CycleRecord, Core) {
        let folder = run.path + "/\(prefix)cycle-\(t)"
        do {
            mark = try StepMark.check(Self.cycleFiles, of: folder, run: identity, after: mark)
            let record = try JSONRecord.read(CycleRecord.self, from: folder + "/metrics.json")
            let core = try Core.read(folder + "/core.json", width: recipe.width)
            let seed = t == 0 && parts.start != nil ? nil : seed(t)
            guard record.cycle == t, core.cycle == t, record.sae.seed == seed, record.sae.width == recipe.width
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

    /// Where the state of a cycle's scorer is while it scores.
    private func scoringState(_ name: String) -> String { "\(run.path)/\(name)/scoring.safetensors" }

    /// Scores the candidates and selects among them. A scorer of totals, which may take hours, goes on from its last state.
    private func select(
        _ sae: SparseAutoencoder, _ t: Int, previous: Core?, _ scoring: [SpliceSample], _ name: String,
        after mark: String
    ) throws -> (Core, [Double]) {
        let keepsState = parts.scorer.accumulation != nil && !parts.scorer.scoresTokens
        let result = try scored(
            sae, by: parts.scorer,
            ScoreUse(
                aggregate: try Aggregate(recipe.aggregate), scope: recipe.over, isSigned: recipe.signed, tau: recipe.tau
            ),
            scoring, name: name, after: mark, state: keepsState ? scoringState(name) : nil)
        return (Core(result.core, scores: result.scores, cycle: t, previous: previous), result.scores)
    }

    /// Scores the candidates of an SAE, and selects among them.
    ///
    /// - Parameter state: where the scorer's state is kept, to go on from.
    func scored(
        _ sae: SparseAutoencoder, by scorer: any AttributionScorer, _ use: ScoreUse, _ scoring: [SpliceSample],
        name: String, after mark: String, state: String? = nil
    ) throws -> ScoringResult {
        var splice = ScoringSettings()
        if recipe.candidates == .all { (splice.prefix, splice.allCandidates) = (sae.dSAE, true) }
        let spliced = try SplicedModel(model: parts.model, hook: recipe.hookPoint, sae: sae, settings: splice)
        let sequences = SampledSequences(scoring)
        let means = MeanActivations(spliced, sequences: scoring.count, step: 1) { scoring[$0.lowerBound] }
        let pass = ScoringPass(spliced, scorer: scorer, means: means)
        let accumulator = ScoreAccumulator(
            latents: pass.candidateCount, tokens: sequences.tokenCount, aggregate: use.aggregate, scope: use.scope,
            isSigned: use.isSigned)
        let scoringRun = try ScoringRun(
            pass, accumulator, over: sequences, key: PassKey(["run": identity, "step": name, "after": mark]))
        var checkpoint: ScoringRun.Checkpoint?
        if let lock, let state {
            let kept = ScoringRun.Checkpoint(state, lock)
            try scoringRun.resume(kept) { _ in [] }
            checkpoint = kept
        }
        progress.begin("score \(name)", total: scoringRun.remainingTokens, unit: "tokens")
        defer { progress.end() }
        let (stop, progress) = (stop, progress)
        try scoringRun.run(
            keeping: checkpoint, watch: PassWatch(check: stop.check, advance: progress.advance(by:detail:)))
        return try scoringRun.result(tau: use.tau) { _ in
            scorer.scoresTokens
                ? .aggregate(use.aggregate, use.scope, isSigned: use.isSigned) : .total(scorer.name)
        }
    }
}

/// How scores of tokens become one of a latent, and which share of all is selected.
struct ScoreUse {
    var aggregate: Aggregate
    var scope: AggregateScope
    var isSigned: Bool
    var tau = 1.0
}
