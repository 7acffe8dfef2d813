import ArgumentParser
import Distillation
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// `dmsae harvest`: text to an activation store.
struct HarvestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "harvest", abstract: "Run text through a model and store its activations at one place.",
        discussion: """
            First positions, special tokens and attention sinks are left out; how many is recorded in store.json. Of a text \
            with fewer tokens than asked for, all are stored, with a warning. A harvest that is stopped or killed goes on with the same \
            command and --resume.

            Example: dmsae harvest --model smollm2.gguf --layer 15 --text wiki.jsonl --tokens 100000 --out store
            """)

    @Option(help: "Hugging Face folder or .gguf file.")
    var model: String
    @Option(help: "Block whose output is stored, counted from 0.")
    var layer: Int?
    @OptionGroup var hook: HookOption
    @Option(help: "Tokens to run through the model.")
    var tokens: Int
    @Option(help: "Folder to write.")
    var out: String
    @OptionGroup var corpus: CorpusOptions
    @Option(help: "Seed of the shuffle.")
    var seed = 1
    @Flag(help: "Go on with the harvest into --out that was cut short.")
    var resume = false
    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var dry: DryRunOption
    @OptionGroup var splice: SpliceOptions
    @OptionGroup var place: DeviceOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try hook.required(layer: layer)
        try checkpoints.validate(resume: resume)
        try require("--tokens", tokens, in: OptionRange.tokens)
        try require("--seed", seed, in: 0...Int.max)
    }

    /// What it will take.
    private func cost() throws -> CostEstimate {
        let text = try corpus.open()
        let tokenizer = try corpus.tokenizer(model: model, for: text)
        let loaded = try place.languageModel(model)
        let data = try corpus.dataset(of: text, tokenizer, loaded, tokens: tokens)
        let pace = try Calibration(
            loaded, at: try hook.required(layer: layer), try splice.policy(loaded.configuration, tokenizer: tokenizer),
            on: { try data.nextBatch(sequences: corpus.sequences) }, progress: Terminal.shared,
            stop: Interruption.request)
        var cost = CostEstimate()
        cost.add("model", tokens, "tokens", seconds: pace.model)
        cost.add(disk: "store", Double(tokens) * pace.kept * 4 * Double(loaded.configuration.dModel))
        var need = MemoryNeed("a shard while it fills needs", advice: "")
        need.add("rows", 4, min(tokens, HarvestSettings.standardShardRows), loaded.configuration.dModel)
        cost.add(need)
        return cost
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; nothing of \(out) is finished, harvest it again")
        try Surroundings.prepareToCompute(advice: "lower --sequences or --context")
        if dry.dryRun { return try dry.show(cost(), output) }
        try OutputPlace.requireFolder(out, holdingOnly: "store.json")
        let lock = try OutputLock.folder(out)
        defer { withExtendedLifetime(lock) {} }
        if exists(out + "/store.json") {
            throw DistillationError.storeExists(folder: out)
        }
        let left = Harvest.tokensDone(in: out)
        if let left, !resume {
            throw DistillationError.cutShort(what: "harvest", folder: out, after: "\(left) tokens", kept: out)
        }
        if left == nil && resume { throw DistillationError.nothingToResume(folder: out) }
        let text = try corpus.open()
        let tokenizer = try corpus.tokenizer(model: model, for: text)
        let loaded = try place.languageModel(model)
        let data = try corpus.dataset(of: text, tokenizer, loaded, tokens: tokens)
        var settings = HarvestSettings(tokens: tokens, seed: UInt64(seed), modelName: lastComponent(model))
        settings.skippedTokens = corpus.skip
        settings.checkpoints = checkpoints.policy
        settings.needsAllTokens = false
        settings.others = corpus.recorded
        settings.others.merge(try splice.excluded(loaded.configuration, tokenizer: tokenizer)) { $1 }
        settings.others.merge(loaded.deviceRecord) { $1 }
        settings.hashes = try fileHashes([("model", modelFiles(model))] + text.roles("text"))
        let harvest = Harvest(
            model: loaded, hook: try hook.required(layer: layer),
            policy: try splice.policy(loaded.configuration, tokenizer: tokenizer),
            settings: settings)
        let store: ActivationStore
        do {
            store = try harvest.run(
                next: { try data.nextBatch(sequences: corpus.sequences) }, to: out, lock: lock,
                progress: Terminal.shared, stop: Interruption.request)
        } catch DistillationError.interrupted {
            if let tokens = Harvest.tokensDone(in: out) {
                Interruption.advise(
                    "interrupted after \(tokens) tokens; the same command with --resume goes on from there")
            }
            throw DistillationError.interrupted
        }
        corpus.warn(of: text, data, tokens: tokens, "stored")
        Terminal.shared.warn(skippedIn: text)
        let record = store.record
        if output.json { return print(try JSONRecord.text(record)) }
        print(
            "\(record.rows) rows of \(record.dIn) from \(record.tokens) tokens "
                + "(\(record.shardRows.count) shard\(record.shardRows.count == 1 ? "" : "s")), "
                + "RMS norm \(decimals(record.inputScale, 2)); left out \(record.droppedSpecial) first or special "
                + "positions and \(record.droppedSinks) attention sinks"
                + (record.droppedPadding.map { ", \($0) of padding" } ?? ""))
    }
}
