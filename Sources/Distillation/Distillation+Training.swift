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

/// An SAE that a run is to train.
struct TrainingRequest {
    /// What progress and events call it.
    var name: String
    var k: Double
    var seed: UInt64
    var core: FrozenCore?
    var budget: BudgetScope
    /// Of the run; it gets the SAE.
    var folder: String
    /// SHA-256 of the mark of the step before the one that this is a part of.
    var mark: String
    /// Those of the recipe for nil.
    var steps: Int?
    /// What latents outside of the core begin as; drawn anew for nil.
    var warm: WarmStart?
    /// Other files in the folder that are a part of the step.
    var beside: [String] = []
}

/// One that is under way.
private struct BegunTraining {
    let index: Int
    let request: TrainingRequest
    let path: String
    let files: [String]
    let sae: SparseAutoencoder
    let provenance: SAEProvenance
    let checkpoints: TrainingCheckpoints
    let training: OngoingTraining
}

extension Distillation {
    static let trainedFiles = ["metrics.json"] + SAEFolder.files

    /// Trains, folds, evaluates and saves SAEs into their folders; read back if that is done already, gone on with from their last
    /// checkpoints if they were cut short. All of them are side by side.
    ///
    /// - Parameter body: is given each of them as it is done, and its place in `requests`.
    /// - Throws: what ends all of them; else, after the others were trained to their ends, what one of them failed with.
    func train(
        _ requests: [TrainingRequest], _ store: any ActivationSource, _ evaluation: EvaluationSet,
        _ body: (_ index: Int, SparseAutoencoder, SAERecord) throws -> Void
    ) throws {
        var begun: [BegunTraining] = []
        for (index, request) in requests.enumerated() {
            let path = try place(request.folder), files = Self.trainedFiles + request.beside
            if run.has(request.folder + "/" + StepMark.name) {
                checkpoints(of: request, path).clear()
                let (sae, record) = try finishedTraining(
                    path, files, seed: request.seed, dIn: store.dIn, after: request.mark)
                try body(index, sae, record)
            } else {
                begun.append(try begin(request, index, store, path, files))
            }
        }
        if begun.count > 1 { for one in begun { one.training.label = one.request.name + " " } }
        var group = TrainingGroup(members: begun.map(\.training))
        var failure: (any Error)?
        while !group.members.isEmpty {
            let count = group.members.count
            var done: String?
            do {
                // Its trainer is gone when what comes of it is looked at.
                let (index, sae, record) = try trainNext(&group, &begun, named: &done, store, evaluation)
                try body(index, sae, record)
            } catch {
                // What ends one must not cost what the others did until then. What keeps one of them from being kept, it meets
                // again at its next step.
                do { try group.keep() } catch let lost where stop.isRaised { throw lost } catch {}
                // A full disk is all of theirs, and so is a folder that is gone.
                if stop.isRaised || error is OutputLockError || error is TensorFileError { throw error }
                guard group.members.count < count else { throw error }
                if let failed = begun.firstIndex(where: { one in !group.members.contains { $0 === one.training } }) {
                    done = begun.remove(at: failed).request.name
                }
                // Of the first, which is thrown, nothing has to be said where there are no others.
                if failure != nil || !group.members.isEmpty {
                    progress.warn(
                        (done.map { "\($0): " } ?? "") + "\(error)"
                            + (group.members.isEmpty ? "" : "; the SAEs that are trained beside it go on"))
                }
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// Trains until one of a group is done, says its name, and saves it.
    private func trainNext(
        _ group: inout TrainingGroup, _ begun: inout [BegunTraining], named name: inout String?,
        _ store: any ActivationSource, _ evaluation: EvaluationSet
    ) throws -> (index: Int, SparseAutoencoder, SAERecord) {
        let done = try runGroup(&group)
        guard let position = begun.firstIndex(where: { $0.training === done }) else {
            preconditionFailure("a training of nobody")
        }
        let one = begun.remove(at: position)
        name = one.request.name
        return (one.index, one.sae, try conclude(one, store, evaluation))
    }

    private func runGroup(_ group: inout TrainingGroup) throws -> OngoingTraining {
        let members = group.members
        let first = members[0].trainer.step
        let name =
            members.count == 1
            ? members[0].run.name + (first > 0 ? " from step \(first)" : "")
            : "\(members.count) SAEs on the same rows"
        progress.begin("train \(name)", total: members.reduce(0) { $0 + $1.remainingSteps }, unit: "steps")
        defer { progress.end() }
        return try group.next(stop)
    }

    private func checkpoints(of request: TrainingRequest, _ path: String) -> TrainingCheckpoints {
        TrainingCheckpoints(
            into: path, causes: Causes(["run": identity, "training": request.name, "step before": request.mark]),
            policy: parts.checkpoints, lock: lock)
    }

    private func begin(
        _ request: TrainingRequest, _ index: Int, _ store: any ActivationSource, _ path: String, _ files: [String]
    ) throws -> BegunTraining {
        let (name, core) = (request.name, request.core)
        let layout = try PrefixLayout(
            groups: recipe.resolvedGroups, width: recipe.width, coreCount: core?.count ?? 0,
            coreIsPrefix: recipe.corePrefixLoss)
        var settings = recipe.trainingSettings(k: request.k, budget: request.budget, steps: request.steps)
        settings.coreRate = core?.rate
        if request.warm != nil { settings.decoderBiasStart = .keep }
        let plan = try TrainingPlan(settings, dIn: store.dIn, layout: layout)
        if request.budget == .total, let core, core.mode == .dense,
            let warning = FailureSignature.beforeTotalBudget(core: core.count, k: request.k)
        {
            progress.warn("\(name): \(warning)")
        }
        let scale = Float(store.inputScale)
        let sae = SparseAutoencoder(dIn: store.dIn, layout: layout, coreIsDense: core?.mode != .sparse)
        sae.initialize(
            seed: request.seed, core: core?.encoder, coreDecoder: recipe.coreDecoder,
            coreBias: core?.biases.map { biases in Matrix(vector: biases.values.map { $0 / scale }) })
        if let warm = request.warm { sae.continueNonCore(of: warm.sae, except: warm.selected, inputScale: scale) }
        let batches = try store.batches(of: plan.batchSize, seed: request.seed)
        let checkpoints = checkpoints(of: request, path)
        checkpoints.batches = batches
        var state = TrainerState(sae, rule: parts.rule)
        _ = try checkpoints.restore(&state, log: nil, warn: progress.warn)
        let trainer = try Trainer(state, plan: plan, rule: parts.rule, on: parts.device)
        var run = TrainingRun(name: name, steps: plan.steps, progress: progress, stop: stop, lock: lock)
        run.checkpoints = checkpoints
        var provenance = provenance(plan, store, seed: request.seed, hasCore: core != nil)
        if request.warm != nil { provenance.settings?["non-core start"] = NonCoreStart.warm.rawValue }
        return BegunTraining(
            index: index, request: request, path: path, files: files, sae: sae, provenance: provenance,
            checkpoints: checkpoints,
            training: try OngoingTraining(
                run, trainer, from: { try batches.read(step: $0, scale: scale, into: $1) }, log: log))
    }

    /// Folds, evaluates and saves one whose steps are done.
    private func conclude(
        _ begun: BegunTraining, _ store: any ActivationSource, _ evaluation: EvaluationSet
    ) throws -> SAERecord {
        let (name, sae, trainer) = (begun.request.name, begun.sae, begun.training.trainer)
        let outcome: TrainingOutcome
        do {
            outcome = try begun.training.finish(inputScale: Float(store.inputScale))
        } catch let error as TrainedWithoutForm {
            let kept = try place(begun.request.folder)
            try SAEFolder.write(sae, begun.provenance, to: kept)
            throw error.kept(in: kept)
        }
        if let warning = outcome.warning(rule: parts.rule) { progress.warn("\(name): \(warning)") }
        let metrics = try evaluate(sae, evaluation, name)
        try SAEFolder.write(sae, begun.provenance, to: try place(begun.request.folder))
        let record = SAERecord(
            seed: begun.request.seed, frozenCore: sae.layout.coreCount, lastStep: outcome.last,
            deadLatents: trainer.tokensSinceFired.count { $0 >= trainer.plan.deadAfterTokens }, width: sae.dSAE,
            evaluation: metrics)
        try JSONRecord.write(record, to: begun.path + "/metrics.json")
        try lock?.requireInPlace()
        try StepMark.write(begun.files, of: begun.path, run: identity, after: begun.request.mark)
        begun.checkpoints.clear()
        return record
    }

    /// Evaluates an SAE that was trained before, in the place of a training.
    func adopt(
        _ start: StartingSAE, _ evaluation: EvaluationSet, folder: String
    ) throws -> (SparseAutoencoder, SAERecord) {
        let place = ModelPlace(name: parts.modelName, hashes: parts.hashes, hook: recipe.hookPoint)
        for sentence in start.provenance.place.differences(of: start.path, from: place) { progress.warn(sentence) }
        for sentence in start.provenance.differences(of: start.path, from: policy) { progress.warn(sentence) }
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
        (provenance.keepFirst, provenance.sinks) = (recipe.keepFirst, Float(recipe.sinks))
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
