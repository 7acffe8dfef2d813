import ArgumentParser
import Attribution
import Distillation
import PluginHost
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae train`: one SAE from a store, from files of activations, or live from a model and text.
struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train", abstract: "Train one Matryoshka SAE, with or without a frozen core.",
        discussion: """
            A training that is stopped or killed goes on with the same command and --resume, to the same bits. Only --steps may \
            be another then, if the rate is constant (--decay-start none).

            With --model and --text nothing is stored: the model makes a block of activations, the training goes through its rows in a \
            random order, each of them once, and the next block takes its place. After its end the text begins again, with a warning.

            Example: dmsae train --activations store --width 4096 --k 64 --steps 1000 --batch 1024 --out sae
            Example: dmsae train --model smollm2.gguf --layer 15 --text wiki.jsonl --width 4096 --k 64 --steps 1000 --out sae
            """)

    @Option(
        help:
            "Activation store; a safetensors file with x [N, d]; or .npy or safetensors shards: a file, a folder or a quoted pattern ('shards/*.npy')."
    )
    var activations: String?
    @OptionGroup var live: LiveOptions
    @Option(help: "Folder to write; an SAE that is there is replaced once the new one is whole.")
    var out: String
    @Option(help: "Mean active latents per token.")
    var k: Double
    @Option(help: "Steps.")
    var steps: Int
    @Option(help: "Tokens per step.")
    var batch = 2048
    @Option(help: "Latents; the sum of the groups if those are given.")
    var width: Int?
    @Option(help: "Group sizes without a core, separated by commas; default 1/32, 1/16, 1/8, 1/4 and the rest.")
    var groups: NumberList<Int>?
    @Option(help: "Weight of each prefix's loss, separated by commas; default equal.")
    var groupWeights: NumberList<Double>?
    @Option(help: "SAE folder to start from, in the form in which it is used: its thresholds, or the k of each row.")
    var `init`: String?
    @Flag(help: "Take the rows of a file in order, starting over at the end: step i takes rows i·batch ….")
    var noShuffle = false
    @Option(help: "core.json or core.safetensors whose encoder vectors are frozen.")
    var core: String?
    @Option(
        help: ArgumentHelp(
            "Core latents fire wherever they are positive, or compete for the budget like the others; default dense.",
            valueName: "dense|sparse"))
    var coreMode: CoreMode?
    @Flag(
        help: "Add the reconstruction by the core alone to the prefixes of the loss, so that there is one weight more.")
    var corePrefixLoss = false
    @Option(help: "b_enc of the core starts at 0, or as it was where the core was selected.")
    var coreBias: CoreBiasStart = .fresh
    @Option(
        help:
            "Hold each latent of a dense core at this share of tokens by its b_enc; without it most come to fire on nearly all."
    )
    var coreRate: Double?
    @Option(help: "Decoder rows of the core start as random unit rows, or as the encoder vector at unit norm.")
    var coreDecoderInit: CoreDecoderStart = .random
    @Option(help: "What a dense core may use of the budget.")
    var budget: BudgetScope = .total
    @Option(
        help:
            "Sparsity rule: a shipped name, a path to a .so, or path.so:ID; ,KEY=VALUE after it for settings, as in topk,k=32."
    )
    var sparsity = "batchtopk"
    @Option(help: "Peak learning rate; default 2e-4/√(width/16384).")
    var lr: Double?
    @Option(help: "Steps of linear warm-up; default min(1000, steps/20).")
    var warmup: Int?
    @Option(help: "Step at which the rate starts to fall, or none; default 80% of the steps.")
    var decayStart: DecayStart?
    @Option(help: "Divide the input by √(mean ‖x‖²) while training.")
    var inputScale: InputScale = .measured
    @Option(help: "How b_dec starts.")
    var bDecInit: DecoderBiasStart?
    @Option(help: "Tokens of silence after which a latent is dead.")
    var deadAfter: Int?
    @Option(help: "The threshold is first updated at the step after this one.")
    var thresholdStart: Int?
    @Option(help: "Weight of the past in the threshold.")
    var thresholdBeta: Double?
    @Option(help: "Seed of parameters and order.")
    var seed = 1
    @Flag(help: "Go on although the core leaves nothing for the other latents.")
    var allowStarvation = false
    @Flag(help: "Go on with the training into --out that was cut short, at its last checkpoint.")
    var resume = false
    @OptionGroup var checkpoints: CheckpointOptions
    @OptionGroup var dry: DryRunOption
    @OptionGroup var log: LogOptions
    @OptionGroup var place: DeviceOptions
    @OptionGroup var plugins: PluginOptions
    @OptionGroup var output: OutputOptions

    enum InputScale: String, ExpressibleByArgument, CaseIterable { case none, measured }

    func validate() throws {
        try live.validate(activations: activations)
        try checkpoints.validate(resume: resume)
        if noShuffle && activations == nil {
            throw ValidationError("--no-shuffle is for files of activations; what a model makes is shuffled")
        }
        guard steps >= 1 else { throw ValidationError("--steps is \(steps); it must be at least 1") }
        try require("--seed", seed, in: 0...Int.max)
        try require("--batch", batch, in: 1...Int(Int32.max))
        for (option, isGiven) in [("--core-mode", coreMode != nil), ("--core-bias transfer", coreBias == .transfer)]
        where isGiven && core == nil {
            throw ValidationError("\(option) is about the core that --core names; give one")
        }
        if corePrefixLoss && core == nil && self.`init` == nil {
            throw ValidationError("--core-prefix-loss needs a core; give --core")
        }
        if coreBias == .transfer && self.`init` != nil {
            throw ValidationError("b_enc is that of --init; leave --core-bias out")
        }
        // The other numbers are `TrainingPlan`'s to check.
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; no SAE was written to \(out), start again")
        let kept = TrainingCheckpoints.place(in: out), cut = TrainingCheckpoints.newestStep(in: kept)
        if dry.dryRun && resume {
            throw ValidationError("--dry-run is of a training from its start; leave out --resume")
        }
        if resume && cut == nil { throw DistillationError.nothingToResume(folder: out) }
        if let cut, !resume, !dry.dryRun {
            throw DistillationError.cutShort(what: "training", folder: out, after: "step \(cut)", kept: kept)
        }
        try Surroundings.prepareToCompute(
            advice: live.model == nil ? "lower --width or --batch" : "lower --width, --batch or --buffer")
        let device = try place.trainingDevice()
        let rule = try plugins.rule(sparsity, output: out)
        let rows = try rows()
        let beginning = try beginning(dIn: rows.dIn, blocks: rows.blocks, on: device)
        let plan = try TrainingPlan(settings(), dIn: rows.dIn, layout: beginning.layout)
        // It is wanted at the end, when a refusal would cost the training.
        _ = try rule.inference?.stateSize(latentCount: beginning.layout.latentCount)
        try device.check(beginning.layout, rule)
        if dry.dryRun { return try dry.show(cost(rows, beginning, plan, rule, device), output) }
        try OutputPlace.requireFolder(out, holdingOnly: "sae_weights.safetensors")
        let source = try measured(rows, kept)
        let (sae, start) = try startingPoint(beginning, inputScale: source.scale)
        try warnOfOtherPlaces(source, start)
        if inputScale == .measured && self.`init` != nil { sae.fold(inputScale: 1 / source.scale) }
        if budget == .total, !sae.exemptCore.isEmpty,
            let warning = FailureSignature.beforeTotalBudget(core: sae.layout.coreCount, k: k)
        {
            Terminal.shared.warn(warning)
        }
        let provenance = try provenance(plan, source, rows, rule, start, device)
        let lock = try OutputLock.folder(out)
        defer { withExtendedLifetime(lock) {} }
        let log = try EventLog(replacing: out + "/events.jsonl")
        log.board = self.log.boardClock.map { TensorBoardLog(out, ownName: out, clock: $0) }
        var training = TrainingRun(
            name: out, steps: steps, progress: Terminal.shared, stop: Interruption.request, lock: lock)
        let checkpoints = try TrainingCheckpoints(
            of: provenance, into: out, version: DMSAE.version, policy: checkpoints.policy, lock: lock)
        checkpoints.batches = source.batches
        training.checkpoints = checkpoints
        var state = TrainerState(sae, rule: rule)
        let isResumed = try checkpoints.restore(&state, log: log, warn: Terminal.shared.warn)
        let trainer = try Trainer(state, plan: plan, rule: rule, on: device)
        if self.`init` != nil && !isResumed { try trainer.continueForm() }
        let outcome: TrainingOutcome
        do {
            outcome = try training.train(trainer, from: source.read, log: log, inputScale: source.scale)
        } catch let error as TrainedWithoutForm {
            try lock.requireInPlace()
            try SAEFolder.write(sae, provenance, to: out, log: log.replacement)
            checkpoints.clear()
            throw error.kept(in: out)
        } catch DistillationError.interrupted {
            if let step = TrainingCheckpoints.newestStep(in: kept) {
                Interruption.advise(
                    "interrupted after step \(step); the same command with --resume goes on from there")
            }
            throw DistillationError.interrupted
        }
        try lock.requireInPlace()
        if log.board == nil && !isResumed { TensorBoardLog.remove(from: out) }
        try SAEFolder.write(sae, provenance, to: out, log: log.replacement)
        checkpoints.clear()
        if case .live(_, let text) = rows { Terminal.shared.warn(skippedIn: text) }
        try conclude(outcome, sae, plan, rule)
    }

    /// What is said of an SAE that was written.
    private func conclude(
        _ outcome: TrainingOutcome, _ sae: SparseAutoencoder, _ plan: TrainingPlan, _ rule: any SparsityRule
    ) throws {
        let last = outcome.last
        if let warning = outcome.warning(rule: rule) { Terminal.shared.warn(warning) }
        if output.json { return print(try JSONRecord.text(last)) }
        print(
            "loss \(decimals(last.loss, 5)), L0 \(decimals(last.meanActiveCore + last.meanActiveNonCore, 1))"
                + (sae.layout.coreCount > 0 ? " (core \(decimals(last.meanActiveCore, 1)))" : "")
                + ", \(last.deadCount) dead, written to \(out)")
        if sae.inference == nil {
            Terminal.shared.warn(
                "the threshold was never updated (\(steps) steps, --threshold-start \(plan.thresholdStart)), so this "
                    + "SAE cannot be applied to single tokens yet")
        }
    }

    /// What goes into the SAE's record; of a start, what is not known better here.
    func provenance(
        _ plan: TrainingPlan, _ source: TrainingRows, _ rows: Rows, _ rule: any LoadedPlugin & SparsityRule,
        _ start: Start?, _ device: any TrainingDevice
    ) throws -> SAEProvenance {
        var provenance = start?.provenance ?? SAEProvenance()
        provenance.seed = UInt64(seed)
        provenance.inputScale = Double(source.scale)
        provenance.rule = "\(rule.name) \(rule.version)"
        provenance.ruleSettings = rule.settings
        provenance.settings = otherSettings(start).merging(rows.settings) { $1 }.merging(device.record) { $1 }
        provenance.hashes = try hashes(source, rule)
        provenance.plan = plan
        provenance.steps = steps
        // Rows that do not say where they are of are of other positions, for all that is known.
        (provenance.keepFirst, provenance.sinks) = (nil, nil)
        if let origin = source.origin { provenance.take(origin) }
        return provenance
    }

    /// What decides about the result and is no number of the plan.
    private func otherSettings(_ start: Start?) -> [String: String] {
        var settings = [
            "activations": activations.map(lastComponent) ?? "made live", "sparsity": sparsity,
            "input scale": inputScale.rawValue, "order": noShuffle ? "as in the file" : "shuffled",
            "core decoder start": coreDecoderInit.rawValue,
            "start": self.`init`.map(lastComponent) ?? "random", "core": core.map(lastComponent) ?? "none given",
            "core bias start": coreBias.rawValue,
        ]
        settings["decoder norms of the start"] = start?.scale.rawValue
        return settings
    }

    /// Encoder vectors know the activations that they were trained on.
    private func warnOfOtherPlaces(_ source: TrainingRows, _ start: Start?) throws {
        guard let origin = source.origin else { return }
        let places = [(self.`init`, start?.provenance.place), (core, try core.flatMap(Core.place))]
        for case (let subject?, let place?) in places {
            for sentence in place.differences(of: subject, from: origin.place) { Terminal.shared.warn(sentence) }
        }
        guard let start, let path = self.`init` else { return }
        for sentence in start.provenance.differences(of: path, from: origin.policy) { Terminal.shared.warn(sentence) }
    }

    /// SHA-256 of all that the training is made from. Of a store it is that of its record, which has the shards' own, and
    /// those of what it was harvested from.
    private func hashes(_ source: TrainingRows, _ rule: any LoadedPlugin) throws -> [String: String] {
        var hashes = try fileHashes([
            ("activations", source.files),
            ("start", self.`init`.map(SAEFormats.files) ?? []),
            ("core", core.map { [Core.encoderFile(at: $0)] } ?? []),
        ])
        hashes.merge(rule.hashes("sparsity rule")) { $1 }
        return hashes.merging(source.origin?.hashes ?? [:]) { own, _ in own }
    }

    private func settings() -> TrainingSettings {
        var settings = TrainingSettings(k: k, batchSize: batch, steps: steps)
        settings.learningRate = lr
        settings.warmupSteps = warmup
        settings.decayStart = decayStart
        settings.groupWeights = groupWeights?.values
        settings.thresholdStart = thresholdStart
        settings.thresholdBeta = thresholdBeta
        settings.deadAfterTokens = deadAfter
        settings.budget = budget
        settings.allowsStarvation = allowStarvation
        settings.coreRate = coreRate
        settings.decoderBiasStart = bDecInit ?? (self.`init` == nil ? .geometricMedian : .keep)
        return settings
    }
}
