import Attribution
import LanguageModeling
import LinearAlgebra
import TensorFiles

private struct StoreEvent: Encodable {
    let event = "store"
    let record: ActivationStoreRecord
}

private struct LiveEvent: Encodable {
    let event = "live"
    let record: LiveRecord
}

extension Distillation {
    /// The store of the run, harvested if it is not there.
    func openStore() throws -> ActivationStore {
        if run.has("store/store.json") { return try finishedStore() }
        try requireText()
        var settings = HarvestSettings(
            tokens: harvestTokens, seed: UInt64(recipe.resolvedHarvestSeed), modelName: parts.modelName)
        settings.hashes = textHashes
        settings.checkpoints = parts.checkpoints
        settings.others = ["sequences": "\(recipe.sequences)", "skip bad lines": "\(recipe.skipBadLines)"]
        settings.others.merge(parts.device.record) { $1 }
        let harvest = Harvest(model: parts.model, hook: recipe.hookPoint, policy: policy, settings: settings)
        let store = try harvest.run(
            next: try parts.text(0, harvestTokens), to: try place("store"), lock: lock, progress: progress, stop: stop)
        try log?.append(StoreEvent(record: store.record))
        return store
    }

    /// Activations that are made as trainings need them. The first part of the text is scored and evaluated; what comes after it is
    /// trained on, by every training from its start.
    func openLive() throws -> LiveActivations {
        let path = LiveRecord.path(in: run.path)
        let isThere = exists(path)
        if !isThere { try requireText() }
        let (text, skipped) = (parts.text, trainedFrom)
        let origin = ActivationOrigin(
            model: parts.modelName, hookPoint: recipe.hookPoint, contextLength: recipe.context, policy: policy,
            hashes: textHashes)
        let live = try LiveActivations(
            of: { try text(skipped, .max) }, model: parts.model, origin: origin, blocks: recipe.blocks,
            others: ["skip bad lines": "\(recipe.skipBadLines)"].merging(parts.device.record) { $1 },
            progress: progress, stop: stop)
        guard isThere else {
            try live.measureScale()
            let record = try LiveRecord(live, skippedTokens: skipped).sealed()
            try JSONRecord.write(record, to: try place("store") + "/live.json")
            try log?.append(LiveEvent(record: record))
            return live
        }
        do {
            let record = try LiveRecord.read(path)
            try live.measureScale(known: record.inputScale)
            guard try LiveRecord(live, skippedTokens: skipped).sealed() == record else {
                throw DistillationError.stepDiffers("it is of another run")
            }
            return live
        } catch {
            throw DistillationError.badStep(folder: run.path + "/store", reason: "\(error)")
        }
    }

    /// What activations are made from.
    private var textHashes: [String: String] {
        parts.hashes.filter { name, _ in ["model", "text"].contains { name == $0 || name.hasPrefix($0 + " ") } }
    }

    /// The store of a resumed run: this run's, to the last bit.
    private func finishedStore() throws -> ActivationStore {
        let folder = run.path + "/store"
        do {
            let store = try ActivationStore(folder)
            let record = store.record
            func text(_ value: some Any) -> String { "\(value)" }
            for (name, was, now) in [
                ("layer", record.hookPoint.shown, recipe.hookPoint.shown),
                ("context", text(record.contextLength), text(recipe.context)),
                ("tokens", text(record.tokens), text(harvestTokens)),
                ("seed", text(record.seed), text(recipe.resolvedHarvestSeed)),
                ("width", text(record.dIn), text(parts.model.configuration.dModel)),
                ("first positions left out", text(record.keepFirst), text(policy.keepFirst)),
                ("special tokens", text(record.specialTokens), text(policy.specialTokens.sorted())),
                ("ratio of sinks", text(record.sinkRatio ?? 0), text(policy.sinkRatio ?? 0)),
                ("skipped tokens", text(record.skippedTokens), "0"),
                (
                    "hashes", text(record.hashes.sorted { $0.key < $1.key }),
                    text(textHashes.sorted { $0.key < $1.key })
                ),
            ] where was != now {
                throw DistillationError.stepDiffers("it is of another run: its \(name): \(was), this run's: \(now)")
            }
            try store.verify(progress: progress, stop: stop)
            return store
        } catch let error as DistillationError where error == .interrupted {
            throw error
        } catch {
            throw DistillationError.badStep(folder: folder, reason: "\(error)")
        }
    }

    /// Counts the text's tokens before the model is run on the first: a text too short for the evaluation must not cost a
    /// harvest.
    private func requireText() throws {
        let evaluated = recipe.wholeContexts(recipe.evaluationTokens)
        let own = parts.evaluationText == nil ? evaluated : 0
        var wanted =
            recipe.isLive
            ? [(scoreTokens, "scoring"), (own, "evaluation"), (recipe.context, "training")]
            : [(harvestTokens, "harvesting"), (scoreTokens, "scoring"), (own, "evaluation")]
        let ofText = wanted.reduce(0) { sum, part in
            let (sum, overflow) = sum.addingReportingOverflow(part.0)
            return overflow ? .max : sum
        }
        var found = try count(try parts.text(0, ofText), ofText)
        if let text = parts.evaluationText {
            wanted.append((evaluated, "evaluation"))
            if found == ofText { found += try count(try text(evaluated), evaluated) }
        }
        for (tokens, purpose) in wanted {
            guard found >= tokens else {
                throw DistillationError.textTooShort(wanted: tokens, found: found, purpose: purpose)
            }
            found -= tokens
        }
    }

    private func count(_ next: TokenSource, _ wanted: Int) throws -> Int {
        var count = 0
        progress.begin("count tokens", total: wanted, unit: "tokens")
        defer { progress.end() }
        while count < wanted, let batch = try next() {
            try stop.check()
            count += batch.ids.count
            progress.advance(by: batch.ids.count, detail: "")
        }
        return min(count, wanted)
    }

    // Trained, scored and evaluated tokens are disjoint: each part is a whole number of contexts, cut exactly. What a store is made
    // of comes first, since how much it is is known; a live training takes what it needs, and so is last.
    private var harvestTokens: Int { recipe.wholeContexts(recipe.harvestTokens) }
    var scoreTokens: Int { recipe.wholeContexts(recipe.scoreTokens) }

    /// Tokens of the text before the scored ones.
    var scoredFrom: Int { recipe.isLive ? 0 : harvestTokens }

    /// Tokens of the text before those of live trainings.
    private var trainedFrom: Int {
        scoreTokens + (parts.evaluationText == nil ? recipe.wholeContexts(recipe.evaluationTokens) : 0)
    }
}
