import Attribution
import LinearAlgebra
import SparseCoding
import TensorFiles

/// One line of `events.jsonl` when a trial is done.
private struct TrialEvent: Encodable {
    let event = "trial"
    /// nil of the only one.
    let seed: Int?
    let record: TrialRecord
}

/// A trial with a seed, before its training.
private struct OpenTrial {
    let seed: SeedRun
    let source: CoreSource
    var plan: TrialPlan
    /// Before it was asked for now.
    var wasDone = false
}

extension Distillation {
    /// One SAE for each trial at each of its k, of the width and with the seed of all others, unless the trial says otherwise;
    /// with each of some seeds, whose cycles are done.
    ///
    /// - Throws: what trainings throw; `DistillationError.emptyCore` of a seed, when the others have theirs.
    func finish(
        _ seeds: [SeedRun], _ store: any ActivationSource, _ scoring: [SpliceSample], _ evaluation: EvaluationSet
    ) throws {
        var open: [OpenTrial] = []
        for seed in seeds where !seed.stableCore.latents.isEmpty {
            at(seed) {
                open += recipe.trialPlans.map { OpenTrial(seed: seed, source: $0.trial.core, plan: $0.plan) }
            }
        }
        var cores: [Int: TrialCores] = [:]
        for var part in open.parts(of: trainedTogether) {
            let requests = try part.indices.map { i in
                let seed = part[i].seed
                return try at(seed) {
                    let own = try cores[seed.repetition] ?? trialCores(of: seed, dIn: store.dIn, scoring)
                    cores[seed.repetition] = own
                    defer { own.forgetSAE() }
                    return try prepare(&part[i], own)
                }
            }
            var saes = [SAERecord?](repeating: nil, count: part.count)
            try train(requests, store, evaluation) { i, _, sae in
                saes[i] = sae
                try at(part[i].seed) { try announce(part[i], sae) }
            }
            for (trial, sae) in zip(part, saes) {
                guard let sae else { preconditionFailure("a trial without a record") }
                trial.seed.trials.append(TrialRecord(trial: trial.plan, sae: sae))
            }
        }
        // Last, so that the others have theirs.
        for seed in seeds where seed.stableCore.latents.isEmpty {
            guard let last = seed.core else { preconditionFailure("no cycle") }
            throw DistillationError.emptyCore(
                cycle: last.cycle, previous: last.previousSize, selected: last.latents.count)
        }
    }

    /// What the trials of the seed that is at work freeze.
    private func trialCores(of seed: SeedRun, dIn: Int, _ scoring: [SpliceSample]) throws -> TrialCores {
        let mark = seed.mark
        return TrialCores(
            of: RunFolder(recipe.folderOfSeed.map { run.path + "/" + $0 } ?? run.path), recipe,
            distilled: try distilledVectors(seed.stableCore, dIn: dIn)
        ) { [self] in try ranking($0, of: $1, scoring, after: mark) }
    }

    /// The final core's vectors, written into its files.
    private func distilledVectors(_ core: Core, dIn: Int) throws -> CoreVectors {
        let folder = try place(prefix + "final")
        // The last cycle's core.safetensors has the encoder vectors in the order of its core.json, of which the
        // stable latents are a part.
        let path = run.path + "/\(prefix)cycle-\(core.cycle)/core.json"
        let last = try Core.read(path, width: recipe.width)
        let stable = last.latents.indices.filter { last.latents[$0].previousIndex != nil }
        let vectors = try CoreVectors(at: path, dIn: dIn, .transfer).rows(stable)
        guard let biases = vectors.biases else { preconditionFailure("they carry over") }
        try core.write(encoder: vectors.encoder, biases: biases, to: folder)
        return vectors
    }

    /// Writes what a trial is and what it freezes, unless it is done.
    private func prepare(_ trial: inout OpenTrial, _ cores: TrialCores) throws -> TrainingRequest {
        let source = trial.source
        let hashes = try source.hashes().merging(parts.rankings[source]?.hashes ?? [:]) { $1 }
        trial.plan.hashes = hashes.isEmpty ? nil : hashes
        let plan = trial.plan
        let name = prefix + plan.folder
        let folder = try place(name)
        trial.wasDone = run.has(name + "/" + StepMark.name)
        try requireSame(plan, folder)
        var frozen: FrozenCore?
        if !trial.wasDone {
            try JSONRecord.write(plan, to: folder + "/" + TrialFiles.plan)
            let chosen = try cores.core(source, seed: plan.seed)
            if let list = chosen?.core, let vectors = chosen?.vectors {
                guard let biases = vectors.biases else { preconditionFailure("an SAE has b_enc") }
                try list.write(encoder: vectors.encoder, biases: biases, to: folder)
            }
            frozen = chosen.map { FrozenCore($0.vectors, mode: plan.coreMode ?? .dense, rate: plan.coreRate, recipe) }
        }
        return TrainingRequest(
            name: name, k: plan.k, seed: finalSeed(plan.seed), core: frozen, budget: plan.budget ?? .nonCore,
            folder: name, mark: trial.seed.mark, steps: plan.tokens / recipe.batch, beside: TrialFiles.names(source))
    }

    /// Logs a trial that was done just now.
    private func announce(_ trial: OpenTrial, _ sae: SAERecord) throws {
        guard !trial.wasDone else { return }
        let plan = trial.plan
        for warning in FailureSignature.commonSigns(sae, "\(prefix)\(plan.name) at k = \(plan.k.recipeText)") {
            progress.warn(warning)
        }
        try log?.append(
            TrialEvent(
                seed: recipe.seeds > 1 ? recipe.seed : nil, record: TrialRecord(trial: plan, sae: sae)))
    }

    /// A trial that is done or was begun is the one that is asked for.
    private func requireSame(_ plan: TrialPlan, _ folder: String) throws {
        // One that cannot be read is written anew, or is not as the mark says.
        guard let was = try? JSONRecord.read(TrialPlan.self, from: folder + "/" + TrialFiles.plan) else { return }
        if let (key, was, now) = try Causes(of: plan).difference(from: Causes(of: was)) {
            throw DistillationError.startedOtherwise(what: "trial", folder: folder, key: key, was: was, now: now)
        }
    }

    /// The seed of the final SAEs of a run of this seed.
    private func finalSeed(_ seed: Int) -> UInt64 { self.seed(recipe.cycles + 1, of: seed) }

    /// Scores of cycle 0's candidates by the shipped scorer of a source.
    private func ranking(
        _ source: CoreSource, of sae: SparseAutoencoder, _ scoring: [SpliceSample], after mark: String
    ) throws -> [Double] {
        guard let ranking = parts.rankings[source] else { preconditionFailure("no scorer for \(source.text)") }
        let result = try scored(
            sae, by: ranking.scorer, ScoreUse(aggregate: .mean, scope: .all, isSigned: true), scoring,
            name: source.text, after: mark)
        guard let name = ranking.output else { return result.scores }
        guard let values = result.outputs.first(where: { $0.output.name == name })?.values else {
            preconditionFailure("\(ranking.scorer.name) has no output \(name)")
        }
        return values
    }

    /// Reads what trials are made of outside of the run: what is missing there must not cost the cycles.
    func requireTrialSources(dIn: Int) throws {
        for trial in recipe.resolvedTrials where !trial.core.paths.isEmpty {
            let vectors = try trial.core.vectors(dIn: dIn, count: nil, recipe.coreBias)
            if case .pooled = trial.core { continue }
            _ = try PrefixLayout(
                groups: recipe.resolvedGroups, width: recipe.width, coreCount: vectors.encoder.rows,
                coreIsPrefix: recipe.corePrefixLoss)
        }
    }
}

/// What a trial's folder holds beside the SAE and its metrics.
enum TrialFiles {
    static let plan = "trial.json"

    static func names(_ source: CoreSource) -> [String] {
        [plan] + (source.isOfCycle0 ? ["core.json", "core.safetensors"] : [])
    }
}

/// A shipped scorer that ranks cycle 0's candidates for a trial's core.
public struct CoreRanking: Sendable {
    public var scorer: any AttributionScorer
    /// The output of it that they are ranked by; its score for nil.
    public var output: String?
    /// SHA-256 of its files, by what they are for.
    public var hashes: [String: String]

    public init(_ scorer: any AttributionScorer, output: String?, hashes: [String: String]) {
        (self.scorer, self.output, self.hashes) = (scorer, output, hashes)
    }
}
