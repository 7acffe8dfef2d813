import ArgumentParser
import Attribution
import Autointerp
import Distillation
import LanguageModeling
import LinearAlgebra
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae autointerp`: a language model explains latents, and is tested on its explanations.
struct AutointerpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "autointerp", abstract: "Have a language model explain latents, and test the explanations.",
        discussion: """
            A server with OpenAI's API for chats writes one explanation a latent from contexts in which it fires, and is then asked, as \
            Delphi does: does what is described occur in this text (detection), are the marked tokens what is described (fuzzing)? Half of \
            what it is asked about is the latent's. The core is held against as many other latents, at random and most frequent ones. What \
            it will cost is printed first; --dry-run prints nothing else, and asks nobody. Each finished latent is kept in OUT, and the same \
            command goes on with the others.

            Example: dmsae autointerp sae --model smollm2.gguf --text wiki-test.jsonl --endpoint http://127.0.0.1:8080/v1 \
            --explainer qwen3-32b --out explained
            """)

    @Argument(help: ArgumentHelp("SAEs: folders or files in any format that convert reads.", valueName: "SAE"))
    var saes: [String]
    @Option(help: "The language model whose activations the SAE reads: Hugging Face folder or .gguf file.")
    var model: String
    @Option(help: "Block whose output the SAE reads, counted from 0; the SAE's own if it names one.")
    var layer: Int?
    @OptionGroup var hook: HookOption
    @OptionGroup var server: EndpointOptions
    @OptionGroup var questions: QuestionOptions
    @Option(help: "core.json whose latents are the core, of one SAE; default the SAE's own.")
    var core: String?
    @Option(
        help: ArgumentHelp(
            "Latents to explain, of one SAE, in the place of a core and its controls.", valueName: "J,J,…"))
    var latents: NumberList<Int>?
    @Option(help: "Latents of each set at most, drawn at random. Default the whole core, or 20 of an SAE without one.")
    var count: Int?
    @Option(help: "Random sets of latents, of the first group and of all, that a core is compared with.")
    var controls = 1
    @Option(help: "Tokens to look at.")
    var tokens = 262_144
    @Option(help: "Folder to write: a folder for each SAE.")
    var out: String?
    @Flag(help: "Say what it will cost, ask nobody and write nothing.")
    var dryRun = false
    @OptionGroup var corpus: CorpusOptions
    @OptionGroup var splice: SpliceOptions
    @OptionGroup var scaling: ScaleOptions
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try hook.place(layer: layer)
        try require("--tokens", tokens, in: OptionRange.tokens)
        try require("--count", count ?? 1, in: 1...Int.max)
        try require("--controls", controls, in: 0...100)
        guard core == nil || latents == nil else { throw ValidationError("give --core or --latents, not both") }
        guard saes.count == 1 || core == nil && latents == nil else {
            throw ValidationError("--core and --latents are of one SAE; name one")
        }
        guard Set(saes).count == saes.count else { throw ValidationError("an SAE is named twice") }
        guard dryRun || out != nil else { throw ValidationError("--out is missing: a folder to write") }
        guard corpus.context % questions.window == 0 else {
            throw ValidationError(
                "--window \(questions.window) does not divide --context \(corpus.context), so that sequences cannot be cut into windows"
            )
        }
    }

    /// One SAE's part: what will be asked, and what it depends on.
    private struct Subject {
        let name: String
        let plans: [LatentPlan]
        let sets: [LatentSet]
        let settings: [String: String]
        let rare: Int
        let dense: Int
        let cost: AutointerpCost
    }

    func run() throws {
        output.apply()
        Interruption.install(
            advice: "interrupted; run the same command again, and finished latents are not asked about again")
        try Surroundings.prepareToCompute(advice: "lower --tokens, --sequences or --context")
        let settings = questions.settings(server)
        // Before minutes of work: a key that is not there.
        let address = try server.address()
        if let out { try OutputPlace.requireFolder(out, holdingOnly: nil) }
        let tokenizer = try loadTokenizer(model: model)
        let subjects = try subjects(settings, tokenizer)
        let cost = subjects.reduce(AutointerpCost()) { $0 + $1.cost }
        if dryRun {
            return print(output.json ? try JSONRecord.text(cost) : text(cost))
        }
        guard let out else { return }
        Terminal.shared.note(text(cost))
        let lock = try OutputLock.folder(out) { "finished latents are there, go on with --out \($0)" }
        defer { withExtendedLifetime(lock) {} }
        var summaries: [(name: String, summary: AutointerpSummary)] = []
        for subject in subjects {
            summaries.append((subject.name, try ask(subject, settings, address, in: out, lock)))
        }
        if output.json {
            return print(
                try JSONRecord.text(Dictionary(uniqueKeysWithValues: summaries.map { ($0.name, $0.summary) })))
        }
        for (name, summary) in summaries { show(summary, name) }
    }

    /// What is to be asked about each SAE.
    private func subjects(_ settings: AutointerpSettings, _ tokenizer: Tokenizer) throws -> [Subject] {
        let loaded = try device.languageModel(model)
        var times: [String: Int] = [:]
        return try saes.map { sae in
            let name = lastComponent(sae)
            times[name, default: 0] += 1
            return try subject(
                sae, name: times[name] == 1 ? name : "\(name)-\(times[name] ?? 0)", settings, loaded, tokenizer)
        }
    }

    private func subject(
        _ sae: String, name: String, _ settings: AutointerpSettings, _ loaded: any LanguageModel, _ tokenizer: Tokenizer
    ) throws -> Subject {
        let (autoencoder, provenance, scale) = try scaling.read(sae)
        let hook = try SAEPlace(asked: try hook.place(layer: layer), provenance, sae: sae, model: model).hook
        let splice = splice.asTrained(sae, provenance)
        guard autoencoder.dIn == loaded.configuration.dModel else {
            throw AttributionError.widthsDiffer(sae: autoencoder.dIn, model: loaded.configuration.dModel)
        }
        let text = try corpus.open()
        let windows = try LatentWindows(
            look(autoencoder, hook, splice, text, tokenizer, loaded), length: questions.window, floor: questions.floor)
        let activating = windows.activatingCounts()
        func isRare(_ latent: Int) -> Bool { activating[latent] < settings.numbers.needed }
        func isDense(_ latent: Int) -> Bool { windows.whole.count - activating[latent] < settings.numbers.test }
        let explainable = activating.indices.map { !isRare($0) && !isDense($0) }
        let sets = try sets(autoencoder, sae, explainable, windows.inspection.frequencies)
        let wanted = Set(sets.flatMap(\.latents)).sorted()
        let asked = try self.core(of: autoencoder, sae)
        guard !wanted.isEmpty else {
            let all = asked.isEmpty ? Array(activating.indices) : asked
            throw AutointerpError.nothingToExplain(
                sae: sae, latents: all.count, windows: windows.whole.count, rare: all.count(where: isRare),
                dense: all.count(where: isDense), needed: settings.numbers)
        }
        try LatentPlan.memory(latents: wanted.count, settings.numbers).check()
        let plans = wanted.compactMap { LatentPlan($0, windows, settings) }
        var (cost, count) = (AutointerpCost(), PromptCount(tokenizer))
        for plan in plans { cost.add(plan, settings, &count) }
        return Subject(
            name: name, plans: plans, sets: sets,
            settings: try recorded(sae, hook, splice, text, tokenizer, loaded, scale, settings),
            rare: asked.count(where: isRare), dense: asked.count(where: isDense), cost: cost)
    }

    /// Latents of the core, or those that were named.
    private func core(of autoencoder: SparseAutoencoder, _ sae: String) throws -> [Int] {
        if let latents {
            if let bad = latents.values.first(where: { !(0..<autoencoder.dSAE).contains($0) }) {
                throw ValidationError(
                    "latent \(bad) is not one of the SAE's \(autoencoder.dSAE), 0 to \(autoencoder.dSAE - 1)")
            }
            return Array(Set(latents.values)).sorted()
        }
        guard let core else { return Array(0..<autoencoder.layout.coreCount) }
        let found = try Core.latents(of: core, in: autoencoder)
        if !found.isChecked {
            Terminal.shared.warn(
                "core.safetensors is not beside \(core), so nothing says that its latents are those of \(sae)")
        }
        return found.latents.map(\.index)
    }

    private func sets(_ autoencoder: SparseAutoencoder, _ sae: String, _ explainable: [Bool], _ frequency: [Double])
        throws -> [LatentSet]
    {
        let core = try core(of: autoencoder, sae)
        if latents != nil {
            let chosen = core.filter { explainable[$0] }
            return chosen.isEmpty
                ? [] : [LatentSet(name: "named", latents: chosen, of: core.count, explainable: chosen.count)]
        }
        var choice = LatentSet.Choice(firstGroup: autoencoder.layout.innermost, latents: autoencoder.dSAE)
        (choice.core, choice.count, choice.draws, choice.seed) = (core, count, controls, questions.seed)
        return LatentSet.sets(choice, canBeExplained: explainable, frequency: frequency)
    }

    /// Runs the text through model and SAE.
    private func look(
        _ autoencoder: SparseAutoencoder, _ hook: HookPoint, _ splice: SpliceOptions, _ text: Corpus,
        _ tokenizer: Tokenizer, _ loaded: any LanguageModel
    ) throws -> LatentInspection {
        let policy = try splice.policy(loaded.configuration, tokenizer: tokenizer)
        let data = try corpus.dataset(of: text, tokenizer, loaded, tokens: tokens)
        Terminal.shared.begin("look", total: tokens, unit: "tokens")
        let inspection = try LatentInspection(
            autoencoder, model: loaded, tokenizer: tokenizer,
            sample: {
                try data.nextBatch(sequences: corpus.sequences).map {
                    try SpliceSample($0, model: loaded, hook: hook, policy: policy)
                }
            },
            progress: {
                try Interruption.request.check()
                Terminal.shared.advance(by: $0, detail: "")
            })
        Terminal.shared.end()
        Terminal.shared.warn(skippedIn: text)
        corpus.warn(of: text, data, tokens: tokens, "looked at")
        return inspection
    }

    /// Everything that the numbers depend on.
    private func recorded(
        _ sae: String, _ hook: HookPoint, _ splice: SpliceOptions, _ text: Corpus, _ tokenizer: Tokenizer,
        _ loaded: any LanguageModel,
        _ scale: LatentScale, _ settings: AutointerpSettings
    ) throws -> [String: String] {
        var result = settings.recorded
        for entries in [
            corpus.recorded, hook.entries, try splice.excluded(loaded.configuration, tokenizer: tokenizer),
            loaded.deviceRecord, splice.recorded,
            [
                "decoder_norms": scale.rawValue, "tokens": "\(tokens)", "skip": "\(corpus.skip)",
                "floor": "\(questions.floor)",
            ],
        ] { result.merge(entries) { $1 } }
        result["model.sha256"] = try modelHash(model)
        result["SAE.sha256"] = try SHA256.hexadecimal(ofFile: SAEFormats.files(sae).last ?? sae)
        return try origin(text.roles("text"), result)
    }

    /// Asks about what was not asked before, and sums up.
    private func ask(
        _ subject: Subject, _ settings: AutointerpSettings, _ address: ChatEndpoint, in out: String, _ lock: OutputLock
    ) throws -> AutointerpSummary {
        let folder = try AutointerpFolder(out + "/" + subject.name, settings: subject.settings)
        var explained: [Int: ExplainedLatent] = [:]
        var left: [LatentPlan] = []
        for plan in subject.plans {
            if let known = try folder.read(plan, settings) { explained[plan.latent] = known } else { left.append(plan) }
        }
        if !explained.isEmpty {
            Terminal.shared.note(
                "\(subject.name): \(explained.count) of \(subject.plans.count) latents are finished already")
        }
        let requests = left.reduce(0) { $0 + $1.requestCount(settings) }
        Terminal.shared.begin("explain \(subject.name)", total: requests, unit: "requests")
        defer { Terminal.shared.end() }
        let queue = try server.queue(seed: questions.seed) { Terminal.shared.advance(by: 0, detail: $0) }
        try AutointerpRun(settings, queue).ask(
            left,
            finished: { latent in
                try lock.requireInPlace()
                try folder.write(latent)
                explained[latent.latent] = latent
                Terminal.shared.advance(by: 0, detail: "\(explained.count) of \(subject.plans.count) latents")
            }, progress: { Terminal.shared.advance(by: $0, detail: "") }, check: { try Interruption.request.check() })
        let summary = AutointerpSummary(
            explained, sets: subject.sets, methods: settings.methods,
            settings: subject.settings.merging(["endpoint": address.url]) { $1 }, rare: subject.rare,
            dense: subject.dense
        )
        try lock.requireInPlace()
        try folder.write(summary)
        return summary
    }

    private func text(_ cost: AutointerpCost) -> String {
        "\(cost.latents) latents, \(cost.requests) requests; about \(cost.tokens_in) tokens in and \(cost.tokens_out) out (at most "
            + "\(cost.most_tokens_out)), by the language model's own tokenizer"
    }

    private func show(_ summary: AutointerpSummary, _ name: String) {
        let methods = summary.settings["methods"]?.split(separator: ",").map(String.init) ?? []
        print("\(name): balanced accuracy, means over latents with 95% intervals; weighted by how often latents fire\n")
        func text(_ interval: Interval?) -> String {
            guard let interval, interval.value.isFinite else { return "-" }
            return decimals(interval.value, 3)
                + (interval.hasLimits ? " [\(decimals(interval.low, 3)), \(decimals(interval.high, 3))]" : "")
        }
        let heads = methods.flatMap { [($0, 20), ("weighted", 20)] }
        var table = TextTable([("latents", 26), ("n", 4)] + heads)
        for set in summary.sets {
            table.add(
                [set.name, "\(set.latents.count)"]
                    + methods.flatMap { method in
                        let found = summary.means.first {
                            $0.set == set.name && $0.method == method && $0.measure == "balanced_accuracy"
                        }
                        return [text(found?.mean), text(found?.frequency_weighted_mean)]
                    })
        }
        for line in table.lines { print(line) }
        if !summary.differences.isEmpty {
            print("\nless as many others\n")
            var differences = TextTable([("latents", 32)] + heads)
            for set in summary.sets {
                guard let of = set.control_of else { continue }
                differences.add(
                    ["\(of), \(set.name)"]
                        + methods.flatMap { method in
                            let found = summary.differences.first {
                                $0.control == set.name && $0.method == method && $0.measure == "balanced_accuracy"
                            }
                            return [text(found?.mean), text(found?.frequency_weighted_mean)]
                        })
            }
            for line in differences.lines { print(line) }
        }
        print("")
        if summary.rare + summary.dense > 0 {
            print(
                "\(summary.rare) more latents fire in too few contexts, and \(summary.dense) are silent in too few, to be explained and tested"
            )
        }
        let silent = summary.latents.count { $0.explanation == nil }
        if silent > 0 { print("of \(silent) latents there was no explanation in the answer") }
        let counts = summary.pooled.map(\.counts)
        let unanswered = counts.reduce(0) { $0 + $1.unanswered }
        let asked = counts.reduce(0) {
            $0 + $1.unanswered + $1.true_positives + $1.false_positives + $1.true_negatives + $1.false_negatives
        }
        if unanswered > 0 {
            print(
                "\(short(100 * Double(unanswered) / Double(asked), 2))% of the questions got no list of 0 and 1 for an answer"
            )
        }
        print(
            "\(summary.usage.requests) requests, \(summary.usage.tokens_in) tokens in and \(summary.usage.tokens_out) out as the server "
                + "counted; \(out ?? "")/\(name)/autointerp.json")
    }
}
