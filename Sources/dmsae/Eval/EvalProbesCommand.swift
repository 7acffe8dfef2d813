import ArgumentParser
import Attribution
import Glibc
import LanguageModeling
import LinearAlgebra
import Probing
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae eval probes`: sparse probing.
struct EvalProbesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probes", abstract: "Sparse probing on the tasks of sae-probes, the core apart from others.",
        discussion: """
            At the last token of each prompt (the last 1,024 tokens of it), latents are ranked by the difference of their means on the two \
            classes, and a logistic regression with an L2 penalty learns from the first k of them; C is chosen by the area under the ROC \
            curve on rows held back. Rows are split as sae-probes splits them. Its JSON is written into OUT, per task; probes.json has \
            means over tasks, the innermost prefix (first group) and the core apart, and what the core does better than as many other \
            latents, at random or those that fire most often. Activations are kept, so that other SAEs of the same place are probed without running the model.

            Example: dmsae eval probes --model smollm2.gguf --sae sae --tasks 117_us_state_FL --tasks 95_toxic_is --out probes
            """)

    @Option(help: "Hugging Face folder or .gguf file.")
    var model: String
    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(help: "Block whose output the SAE reads, counted from 0; the SAE's own if it names one.")
    var layer: Int?
    @OptionGroup var hook: HookOption
    @Option(help: ArgumentHelp("Task by its name in sae-probes, may be repeated; default all 113.", valueName: "NAME"))
    var tasks: [String] = []
    @Option(help: ArgumentHelp("Numbers of latents that probes take, beside all.", valueName: "K,K,…"))
    var ks = NumberList<Int>(argument: "1,2,5,16,128")!
    @Option(
        help: ArgumentHelp(
            "Rank latents by differences over the mean where they fire, as sae-probes does, or as they are.",
            valueName: "normalized|plain"))
    var ranking: LatentRanking = .normalized
    @Option(help: "Random sets of latents that each set is compared with.")
    var controls = 5
    @Option(help: "Seed of the random sets.")
    var seed: UInt64 = 0
    @Option(
        help: ArgumentHelp(
            "Begin prompts with the beginning-of-sequence token; default as the model's tokenizer says.",
            valueName: "yes|no"))
    var bos: Choice?
    @Option(help: "The package sae-probes 0.4.2 as a file; default what `dmsae fetch probes` brought.")
    var package: String?
    @Option(help: "Folder to write.")
    var out: String
    @Option(help: "Folder of kept activations, for several SAEs of one place; default OUT/activations.")
    var activations: String?
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try hook.place(layer: layer)
        for k in ks.values { try require("--ks", k, in: 1...(1 << 20)) }
        guard Set(ks.values).count == ks.values.count else { throw ValidationError("--ks names a number twice") }
        guard Set(tasks).count == tasks.count else { throw ValidationError("--tasks names a task twice") }
        try require("--controls", controls, in: 0...1000)
    }

    func run() throws {
        output.apply()
        Interruption.install(
            advice: "interrupted; run the same command again, and activations that are kept are not made again")
        try Surroundings.prepareToCompute(advice: "probe a smaller SAE or model")
        try OutputPlace.requireFolder(out, holdingOnly: nil)
        let wheel = try self.wheel()
        let all = try ProbingTasks(wheel: wheel)
        let names = tasks.isEmpty ? all.names : tasks
        for name in names { _ = try all.task(name) }
        let (autoencoder, provenance) = try SAEFormats.read(sae)
        let place = try SAEPlace(asked: try hook.place(layer: layer), provenance, sae: sae, model: model)
        let tokenizer = try loadTokenizer(model: model)
        let loaded = try device.languageModel(model)
        guard autoencoder.dIn == loaded.configuration.dModel else {
            throw AttributionError.widthsDiffer(sae: autoencoder.dIn, model: loaded.configuration.dModel)
        }
        let lock = try OutputLock.folder(out) { "what is finished is there, go on with --out \($0)" }
        defer { withExtendedLifetime(lock) {} }
        let prompts = LastTokens(
            model: loaded, tokenizer: tokenizer, hook: place.hook,
            beginning: try tokenizer.beginning(bos.map { $0 == .yes }))
        let kept = try self.kept(loaded, place, wheel: wheel)
        let sets = ProbedLatents.sets(
            latents: autoencoder.dSAE, core: autoencoder.layout.coreCount,
            firstGroup: autoencoder.layout.innermost, draws: controls, seed: seed)
        var probed: [ProbedTask] = []
        let name = lastComponent(provenance.model ?? model)
        for (index, task) in names.enumerated() {
            let task = try all.task(task)
            let x = try activations(of: task, prompts, kept.store, dIn: autoencoder.dIn)
            Terminal.shared.note("probing \(task.name) (\(index + 1) of \(names.count))")
            try Interruption.request.check()
            let found = try ProbedTask(task, x, autoencoder, sets: sets, ks: ks.values.sorted(), ranking: ranking)
            try write(found, model: name, hook: place.hook.name)
            probed.append(found)
        }
        var settings = try origin([("SAE", SAEFormats.files(sae))], kept.cause)
        settings["ks"] = ks.values.map(String.init).joined(separator: ",")
        (settings["ranking"], settings["controls"], settings["seed"]) = (ranking.rawValue, "\(controls)", "\(seed)")
        let summary = ProbeSummary(probed, sets: sets, settings: settings)
        try JSONRecord.write(summary, to: out + "/" + ProbeSummary.fileName)
        if output.json { return print(try JSONRecord.text(summary)) }
        show(summary)
    }

    private func wheel() throws -> String {
        if let package { return package }
        let cache = try ProbesCache()
        guard try cache.isWhole() else { throw MissingProbes(folder: cache.folder) }
        return cache.wheel
    }

    private struct MissingProbes: Error, CustomStringConvertible {
        let folder: String
        var description: String { printable("the probing tasks are not in \(folder); run: dmsae fetch probes") }
    }

    /// Where activations are kept, and what they depend on.
    private func kept(_ loaded: any LanguageModel, _ place: SAEPlace, wheel: String) throws -> (
        store: KeptActivations, cause: [String: String]
    ) {
        let folder = activations ?? out + "/activations"
        try createFolder(folder)
        var cause = ["tasks.sha256": try SHA256.hexadecimal(ofFile: wheel), "bos": bos?.rawValue ?? "as trained"]
        cause["model.sha256"] = try modelHash(model)
        cause.merge(place.hook.entries) { $1 }
        cause.merge(loaded.deviceRecord) { $1 }
        return (KeptActivations(folder: folder, cause: cause), cause)
    }

    private func activations(of task: ProbingTask, _ prompts: LastTokens, _ kept: KeptActivations, dIn: Int) throws
        -> Matrix
    {
        if let known = try kept.read(task, dIn: dIn) { return known }
        Terminal.shared.begin("run the model on \(task.name)", total: task.prompts.count, unit: "prompts")
        defer { Terminal.shared.end() }
        let x = try prompts.activations(of: task) { count in
            try Interruption.request.check()
            Terminal.shared.advance(by: count, detail: "")
        }
        try kept.write(task, x)
        return x
    }

    /// What sae-probes would have written of all latents, and of activations.
    private func write(_ found: ProbedTask, model: String, hook: String) throws {
        let files: [(folder: String, method: String, sparse: Bool)] = [
            ("sae_probes_\(model)", "l2", true), (ProbeSummary.baselineFolder + model, "logreg", false),
        ]
        for (name, method, isSparse) in files {
            let folder = "\(out)/\(name)/normal_setting"
            try createFolder("\(out)/\(name)")
            try createFolder(folder)
            let file = "\(folder)/\(found.name)_\(hook)_\(method).json"
            if isSparse {
                try JSONRecord.write(
                    found.sets[0].map { SparseProbeRecord($0, task: found.name, hook: hook) }, to: file)
            } else {
                try JSONRecord.write([DenseProbeRecord(found, hook: hook)], to: file)
            }
        }
    }

    private func show(_ summary: ProbeSummary) {
        print("area under the ROC curve, means over \(summary.tasks.count) tasks with 95% intervals\n")
        var table = TextTable([("latents", 30), ("k", 5), ("AUC", 22)])
        func text(_ interval: Interval) -> String {
            decimals(interval.value, 4)
                + (interval.hasLimits ? " [\(decimals(interval.low, 4)), \(decimals(interval.high, 4))]" : "")
        }
        for mean in summary.means {
            table.add([mean.set, mean.set == "dense" ? "-" : "\(mean.k)", text(mean.test_auc)])
        }
        for line in table.lines { print(line) }
        if summary.differences.isEmpty { return }
        print("\nless as many others: the mean of \(controls) random sets, or those that fire most often\n")
        var differences = TextTable([
            ("latents, and where controls are from", 36), ("k", 5), ("AUC", 24), ("better in", 9),
        ])
        for difference in summary.differences {
            differences.add([
                "\(difference.set), \(difference.from)", "\(difference.k)", text(difference.test_auc),
                "\(difference.better_tasks) of \(difference.tasks)",
            ])
        }
        for line in differences.lines { print(line) }
    }
}

extension LatentRanking: ExpressibleByArgument {}
