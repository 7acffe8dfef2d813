import ArgumentParser
import Attribution
import LanguageModeling
import LinearAlgebra
import Probing
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae eval absorption`: do latents of single words take the place of those of their first letter?
struct EvalAbsorptionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "absorption",
        abstract: "SAEBench's first-letter absorption, in its own JSON, the core apart from others.",
        discussion: """
            As sae-bench 0.6 measures it (arXiv:2409.14507): words are the tokens of letters alone; the activation at the word in a prompt with \
            examples gives a probe of each first letter; of the latents a sparse probe takes the first, and more as long as each raises its F1 \
            by --f1-jump (feature splitting): the main latents. A word whose letter the probe says is absorbed as far as other latents stand \
            in for them. Letters count whose probe has an F1 above --min-probe-f1.

            Beside all latents: the SAE as if it ended after each prefix, and main latents chosen of the core, of the first group and of as \
            many others, absorbed by any latent. Brackets hold 95% over letters. It wants a model that spells (SAEBench: one of a billion \
            parameters) and a wide SAE (16,000 latents); few words make poor probes, and --probe-batch should fall with them (256 for 4,000).

            Example: dmsae eval absorption --model smollm2.gguf --sae sae --words 8000 --out absorption.json
            """)

    @Option(help: "Hugging Face folder or .gguf file.")
    var model: String
    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(help: "Block whose output the SAE reads, counted from 0; the SAE's own if it names one.")
    var layer: Int?
    @OptionGroup var hook: HookOption
    @Option(help: "Words to measure on, drawn from the vocabulary; default all of it.")
    var words: Int?
    @Option(help: "Examples in a prompt.")
    var examples = SpellingTask.usualExamples
    @Option(help: "Latents of a sparse probe at most.")
    var maxK = 10
    @Option(help: "Words of a batch of the probes that order latents; few words want it smaller.")
    var probeBatch = 4096
    @Option(help: "What F1 must gain by one more latent.")
    var f1Jump = 0.03
    @Option(help: "F1 above which a letter's probe of activations must be.")
    var minProbeF1 = 0.6
    @Option(help: "Letters that must have such a probe.")
    var minLetters = 20
    @Option(help: "Random sets of latents that each set is compared with.")
    var controls = 5
    @Option(help: "Seed of words, prompts, probes and random sets.")
    var seed: UInt64 = 42
    @Option(
        help: ArgumentHelp(
            "Begin prompts with the beginning-of-sequence token; default as the model's tokenizer says.",
            valueName: "yes|no"))
    var bos: Choice?
    @Option(help: "JSON file to write, as SAEBench writes it.")
    var out: String?
    @Option(help: "Folder to keep activations in, for several SAEs of one place.")
    var activations: String?
    @OptionGroup var scale: ScaleOptions
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try hook.place(layer: layer)
        if let words { try require("--words", words, in: 1...(1 << 24)) }
        try require("--examples", examples, in: 0...1000)
        try require("--max-k", maxK, in: 1...1000)
        try require("--probe-batch", probeBatch, in: 1...(1 << 24))
        try require("--f1-jump", f1Jump, in: 0...1)
        try require("--min-probe-f1", minProbeF1, in: 0...1)
        try require("--min-letters", minLetters, in: 2...26)
        try require("--controls", controls, in: 0...1000)
    }

    func run() throws {
        output.apply()
        if let out { try OutputPlace.requireFile(out, reading: [model, sae]) }
        if let activations { try OutputPlace.requireFolder(activations, holdingOnly: nil) }
        Interruption.install(
            advice: activations == nil
                ? "interrupted; run the same command again, with --activations FOLDER to keep them once all are made"
                : "interrupted; run the same command again: activations are kept once all of them are made")
        try Surroundings.prepareToCompute(advice: "lower --words, or measure a smaller SAE or model")
        let (autoencoder, provenance, folded) = try scale.read(sae)
        let place = try SAEPlace(asked: try hook.place(layer: layer), provenance, sae: sae, model: model)
        let tokenizer = try loadTokenizer(model: model)
        let loaded = try device.languageModel(model)
        guard autoencoder.dIn == loaded.configuration.dModel else {
            throw AttributionError.widthsDiffer(sae: autoencoder.dIn, model: loaded.configuration.dModel)
        }
        let task = try SpellingTask(
            SpellingWord.all(of: tokenizer), limit: words ?? .max, examples: examples, seed: seed)
        try SpellingActivations.need(words: task.words.count, width: autoencoder.dIn).check()
        let prompts = LastTokens(
            model: loaded, tokenizer: tokenizer, hook: place.hook,
            beginning: try tokenizer.beginning(bos.map { $0 == .yes }))
        let cause = try self.cause(loaded, place, task)
        let spelled = try kept(task, prompts, cause, width: autoencoder.dIn)
        let sets = ProbedLatents.sets(
            latents: autoencoder.dSAE, core: autoencoder.layout.coreCount,
            firstGroup: autoencoder.layout.innermost, draws: controls, seed: seed)
        let ends = Array(autoencoder.layout.prefixes.dropLast())
        let all = [sets[0]] + ProbedLatents.prefixes(ends) + sets.dropFirst()

        var settings = AbsorptionEvaluation.Settings()
        (settings.mostLatents, settings.f1Jump, settings.seed) = (maxK, f1Jump, seed)
        (settings.leastProbeF1, settings.leastLetters, settings.probeBatch) = (minProbeF1, minLetters, probeBatch)
        let evaluation = try AbsorptionEvaluation(
            task, spelled, autoencoder, settings, begin: begin, progress: advance)
        let found = try all.map { set in
            (set: set, letters: try evaluation.letters(of: set, begin: begin, progress: advance))
        }
        Terminal.shared.end()
        let summary = AbsorptionSummary(found, task, probeF1: evaluation.probeF1, layout: autoencoder.layout)
        var recorded = try origin([("SAE", SAEFormats.files(sae))], cause)
        (recorded["controls"], recorded["scale"]) = ("\(controls)", folded.rawValue)
        let details = AbsorptionOutput.details(found[0].letters)
        let mean = AbsorptionOutput.mean(details)
        let name = provenance.model ?? lastComponent(model)
        let record = AbsorptionOutput.Record(
            type: AbsorptionOutput.type,
            config: .init(
                model: name, settings, tokenPosition: try task.tokenPosition(tokenizer)),
            metrics: .init(mean: mean), details: details,
            extra: .init(settings: recorded, task, spelled: spelled.spelled.count, summary),
            sae: SAEBenchSAE(
                model: name, dIn: autoencoder.dIn, dSAE: autoencoder.dSAE, hook: place.hook.name,
                layer: place.hook.block, context: provenance.contextLength), origin: .here(sae: sae))
        if let out { try JSONRecord.write(record, to: out) }
        if output.json { return print(try JSONRecord.text(record)) }
        show(mean, details, summary, task)
    }

    /// What activations depend on.
    private func cause(_ loaded: any LanguageModel, _ place: SAEPlace, _ task: SpellingTask) throws -> [String: String]
    {
        var cause = [
            "bos": bos?.rawValue ?? "as trained", "seed": "\(seed)", "words": "\(task.words.count)",
            "examples": "\(examples)",
        ]
        cause["model.sha256"] = try modelHash(model)
        cause.merge(place.hook.entries) { $1 }
        cause.merge(loaded.deviceRecord) { $1 }
        return cause
    }

    private func kept(_ task: SpellingTask, _ prompts: LastTokens, _ cause: [String: String], width: Int) throws
        -> SpellingActivations
    {
        if let activations {
            try createFolder(activations)
            let known = try SpellingActivations(keptIn: activations, of: task, width: width, cause: cause)
            if let known { return known }
        }
        let made = try SpellingActivations(task, prompts, seed: seed, begin: begin, progress: advance)
        Terminal.shared.end()
        if let activations { try made.keep(in: activations, of: task, cause: cause) }
        return made
    }

    private func begin(_ stage: SpellingActivations.Stage) {
        switch stage {
        case .train(let words): begin("run the model on words to learn from", words, "words")
        case .test(let words): begin("run the model on test words", words, "words")
        case .probes(let epochs): begin("learn probes of letters", epochs, "epochs")
        case .again(let words): begin("run the model on spelled words", words, "words")
        }
    }

    private func begin(_ stage: AbsorptionEvaluation.Stage) {
        switch stage {
        case .encode(let words): begin("encode", words, "words")
        case .compare(let letters): begin("compare probes with latents", letters, "letters")
        case .set(let name, let steps): begin("probe \(name)", steps, "steps")
        }
    }

    private func begin(_ text: String, _ total: Int, _ unit: String) {
        Terminal.shared.end()
        Terminal.shared.begin(text, total: total, unit: unit)
    }

    private func advance(by count: Int) throws {
        try Interruption.request.check()
        Terminal.shared.advance(by: count, detail: "")
    }

    private func show(
        _ mean: AbsorptionOutput.Mean, _ details: [AbsorptionOutput.Detail], _ summary: AbsorptionSummary,
        _ task: SpellingTask
    ) {
        let words = details.reduce(0) { $0 + $1.num_probe_true_positives }
        print(
            "\(details.count) letters whose probe has an F1 above \(decimals(minProbeF1, 2)), \(words) words of theirs; means over letters, "
                + "with 95%\n")
        for (name, value) in [
            ("mean_absorption_fraction_score", mean.mean_absorption_fraction_score),
            ("mean_full_absorption_score", mean.mean_full_absorption_score),
            ("mean_num_split_features", mean.mean_num_split_features),
        ] { print("\(name)\(String(repeating: " ", count: 32 - name.count))\(decimals(value, 4))") }
        func text(_ interval: Interval) -> String {
            decimals(interval.value, 3)
                + (interval.hasLimits ? " [\(decimals(interval.low, 3)), \(decimals(interval.high, 3))]" : "")
        }
        var table = TextTable([
            ("main latents of", 30), ("", 6), ("F1", 20), ("a letter", 8), ("absorbed", 20), ("in full", 20),
        ])
        for set in summary.sets {
            table.add([
                set.set, "\(set.latents)", text(set.main_f1), decimals(set.main_latents.value, 2),
                text(set.absorption_fraction), text(set.full_absorption),
            ])
        }
        print("")
        table.lines.forEach { print($0) }
        if !summary.differences.isEmpty {
            print("\nless as many others: the mean of \(controls) random sets, or those that fire most often\n")
            var differences = TextTable([
                ("latents, and where controls are from", 36), ("F1", 22), ("absorbed", 22), ("in full", 22),
                ("less on", 9),
            ])
            for difference in summary.differences {
                differences.add([
                    "\(difference.set), \(difference.from)", text(difference.main_f1),
                    text(difference.absorption_fraction), text(difference.full_absorption),
                    "\(difference.less_absorbed_letters) of \(details.count)",
                ])
            }
            differences.lines.forEach { print($0) }
        }
        guard summary.groups.count > 1 else { return }
        var groups = TextTable([
            ("of all latents' absorbed words", 30), ("latents", 8), ("main", 6), ("absorbed", 8), ("absorbing", 9),
        ])
        for group in summary.groups {
            groups.add([
                group.group, "\(group.latents)", "\(group.main_latents)", "\(group.absorbed_words)",
                "\(group.absorbing_words)",
            ])
        }
        print("")
        groups.lines.forEach { print($0) }
    }
}
