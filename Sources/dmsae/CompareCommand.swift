import ArgumentParser
import Attribution
import Distillation
import Glibc
import LanguageModeling
import PluginHost
import Reports
import TensorFiles
import LinearAlgebra

/// `dmsae compare`: several scorers on one SAE.
struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare", abstract: "Compare attribution methods on one SAE and the same tokens.",
        discussion: """
            The model runs once for all scorers. Writes comparison.json, comparison.safetensors (every score) and \
            report.html into the folder --out, and goes on where an interrupted comparison stopped. Intervals hold 95 of 100 \
            results from sequences drawn again with replacement. The first scorer is the one that the table compares others with.

            The table: latents in the core at --tau; Spearman's ρ and the cores' Jaccard with the first scorer; ρ between two \
            random halves of the sequences; removal area and kept area, under the curve of the loss that removing the top n \
            latents adds and above that of keeping only them, over log n, larger for a better ranking; how often latents of the \
            core fire; seconds. A scorer that looks at all sequences in order has no intervals but those of its curves.

            Example: dmsae compare --model smollm2.gguf --sae sae --tokens ids.safetensors --scorer gxa \
            --scorer ablation,draws=4 --scorer ig --scorer frequency --scorer random --out comparison
            """)

    @OptionGroup var input: ScoringInput
    @Option(
        help:
            "Scorer: a shipped name, a path to a .so or .py, or path.so:ID; parameters after commas. Give two or more.")
    var scorer: [String]
    @OptionGroup var aggregation: AggregateOptions
    @Option(help: "Fraction of all attribution that the core has where only one core is shown.")
    var tau = 0.9
    @Option(help: "Safetensors file with input_ids [B, T] for the loss curves; default the scored tokens.")
    var curveTokens: String?
    @Option(help: "Sequences of the loss curves, 2 or more; 0 for no curves.")
    var curveSequences = 8
    @Option(help: "Samples of sequences for the intervals.")
    var draws = 200
    @Option(help: "What they are drawn from.")
    var seed: UInt64 = 1
    @Option(help: "Latents of each core that the report shows.")
    var show = 6
    @Option(help: "Folder to write.")
    var out: String
    @OptionGroup var plugins: PluginOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard scorer.count >= 2 else {
            throw ValidationError("a comparison needs two scorers or more; give --scorer again")
        }
        // One sequence drawn again is itself, and an interval without width would find every difference.
        guard curveSequences == 0 || curveSequences >= 2 else {
            throw ValidationError(
                "--curve-sequences is \(curveSequences); it must be 0, or 2 or more for an interval")
        }
        try require("--show", show, in: 0...Int.max)
        try require("--draws", draws, in: 20...10_000)
    }

    /// A scorer's numbers depend on its code and its settings, whatever they were called on the command line; two that are the
    /// same would agree with each other and say nothing.
    private func requireDistinct(_ loaded: [any LoadedPlugin]) throws {
        var known: [String: String] = [:]
        for (text, plugin) in zip(scorer, loaded) {
            let settings = plugin.parameters.map { "\($0.key)=\($0.value)" }.sorted().joined(separator: ",")
            let identity = "\(plugin.files.map(\.sha256).joined()) \(plugin.name) \(settings)"
            if let other = known.updateValue(text, forKey: identity) {
                throw ValidationError(
                    (other == text
                        ? "scorer \(printable(text)) is given twice"
                        : "scorers \(printable(other)) and \(printable(text)) are one: \(plugin.name), with the same settings"
                            + (settings.isEmpty ? "" : " (\(settings))"))
                        + "; give each once, or with other settings")
            }
        }
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; run the same command again to go on from \(out)")
        try Surroundings.prepareToCompute(
            advice: "lower --sequences, --prefix or --curve-sequences, or give fewer tokens or scorers")
        guard tau > 0 && tau <= 1 else { throw AttributionError.badFraction(tau) }
        let settings = try settings()
        try OutputPlace.requireFolder(out, holdingOnly: "comparison.json")
        let lock = try OutputLock.folder(out) { "what is finished is there, go on with --out \($0)" }
        defer { withExtendedLifetime(lock) {} }
        try createFolder(parts)
        try AtomicFile.requireWritable(out + "/comparison.json")
        let loadedPlugins = try scorer.map { try plugins.scorer($0, output: out + "/comparison.json") }
        try requireDistinct(loadedPlugins)
        for plugin in loadedPlugins where plugin.scoresTokens && plugin.accumulation?.isSequential == true {
            throw ValidationError(
                "scorer \(plugin.name) scores tokens and looks at all sequences in order beside; leave it out and use dmsae score"
            )
        }
        aggregation.warnOfUnused(loadedPlugins)
        let loaded = try input.load()
        try requireSeveral(loaded.tokens, in: input.tokens)
        let curveBatch = try curveBatch(loaded)
        let limit = try evaluationLimit(loaded)
        var key = try passKey(loaded, loadedPlugins, limit: limit)
        let pass = ComparisonPass(
            loaded.spliced,
            zip(scorer, loadedPlugins).map {
                ComparedScorer(label: $0, $1, budget: Terminal.evaluations(of: $0, limit: limit))
            },
            sequences: loaded.tokens.sequenceCount, length: loaded.tokens.length, means: loaded.means,
            clock: monotonicSeconds)
        let run = ComparisonRun(pass, over: loaded.sequences, parts: parts, lock: lock, watch: Terminal.watch)
        try score(run, loadedPlugins, key)
        loaded.warnOfMisfit()
        let comparison = try comparison(pass, settings)
        key["aggregate"] = "\(settings.aggregate)"
        key["over"] = settings.scope.rawValue
        key["signed"] = "\(aggregation.signed)"
        key["curve_tokens.sha256"] = try curveTokens.map { try SHA256.hexadecimal(ofFile: $0) } ?? "the scored tokens"
        key["curve_sequences"] = "\(curveSequences)"
        let curves = try curveBatch.map { try self.curves(run, comparison, loaded, $0, key) }
        var record = try record(comparison, curves)
        record.about = about(loaded, loadedPlugins)
        record.settings = recorded(key)
        record.peak_memory = peakMemory()
        record.summary = record.findings()
        let inspection = pass.inspection(sae: loaded.sae, tokenizer: loaded.tokenizer, tokens: loaded.tokens)
        record.latents = inspection.records(of: record.firstOfCores(show))
        try lock.requireInPlace()
        try JSONRecord.write(record, to: out + "/comparison.json")
        try pass.write(record, to: out + "/comparison.safetensors")
        try AtomicFile.write(ComparisonReport(record).html(), to: out + "/report.html")
        if output.json { return print(try JSONRecord.text(record)) }
        printTable(record)
    }

    private var parts: String { out + "/parts" }

    private func settings() throws -> Comparison.Settings {
        var settings = Comparison.Settings()
        settings.aggregate = try aggregation.resolved()
        settings.scope = aggregation.scope
        settings.isSigned = aggregation.signed
        settings.tau = tau
        settings.draws = draws
        settings.seed = seed
        return settings
    }

    /// All that scores of tokens and totals depend on.
    private func passKey(
        _ loaded: ScoringInput.Loaded, _ plugins: [any LoadedPlugin], limit: Int?
    ) throws -> PassKey {
        var key = try input.key(loaded)
        for (file, sha256) in PluginBuilds(plugins).entries { key[file] = sha256 }
        key["scorers"] = zip(scorer, plugins).map { "\($0): \($1.identity)" }.joined(separator: "; ")
        key["budget"] = limit.map(String.init) ?? "none"
        return key
    }

    /// The limit in forwards. Of a time it is kept, so that an interrupted comparison goes on with the same.
    private func evaluationLimit(_ loaded: ScoringInput.Loaded) throws -> Int? {
        guard let budget = input.budget else { return nil }
        guard case .time = budget else { return try budget.forwards(loaded) }
        return try ComparisonRun.keptForwards("\(budget)", in: parts) { try budget.forwards(loaded) }
    }

    /// Runs the sequences that no part in the folder holds.
    private func score(_ run: ComparisonRun, _ plugins: [any LoadedPlugin], _ key: PassKey) throws {
        Terminal.shared.begin("score", total: run.pass.sequenceCount * run.pass.length, unit: "tokens")
        defer { Terminal.shared.end() }
        try run.score(key: key, draws: draws, vet: PluginBuilds(plugins).requireThose(of:)) { error in
            if case PluginCallError.cancelled = error { return true }
            return error is TensorFileError || error is LanguageModelError
        }
        try run.pass.requireScores()
    }

    /// What the scorers said, of two or more of them.
    private func comparison(_ pass: ComparisonPass, _ settings: Comparison.Settings) throws -> Comparison {
        let comparison = Comparison(pass, settings)
        guard comparison.scorerCount >= 2 else {
            throw AttributionError.nothingToCompare(
                left: comparison.orders.first.map { [printable($0.name)] } ?? [], failures: comparison.failures)
        }
        for failure in comparison.failures {
            Terminal.shared.warn("\(printable(failure.name)) is left out: \(failure.value)")
        }
        return comparison
    }

    /// The sequences of the curves; nil where none are asked for.
    private func curveBatch(_ loaded: ScoringInput.Loaded) throws -> TokenBatch? {
        guard curveSequences > 0 else { return nil }
        let batch = try curveTokens.map { try readTokens($0) } ?? loaded.tokens
        try requireSeveral(batch, in: curveTokens ?? input.tokens)
        return batch.sequences(0..<min(curveSequences, batch.sequenceCount))
    }

    private func requireSeveral(_ batch: TokenBatch, in path: String) throws {
        guard batch.sequenceCount >= 2 else {
            throw ValidationError(
                "\(path) holds one sequence, and intervals come from drawing sequences; give two or more")
        }
    }

    private func curves(
        _ run: ComparisonRun, _ comparison: Comparison, _ loaded: ScoringInput.Loaded, _ batch: TokenBatch,
        _ key: PassKey
    ) throws -> ComparedCurves {
        let curves = try FaithfulnessCurves(
            loaded.spliced, samples: try loaded.sequences(of: batch).samples(), policy: loaded.policy)
        Terminal.shared.begin(
            "curves", total: curves.tokenCount(methods: comparison.orders.count), unit: "tokens")
        defer { Terminal.shared.end() }
        return try run.curves(curves, of: comparison, key: key)
    }

    private func record(_ comparison: Comparison, _ curves: ComparedCurves?) throws -> ComparisonRecord {
        Terminal.shared.begin("draw sequences again", total: draws, unit: "draws")
        defer { Terminal.shared.end() }
        var record = try comparison.record(curves: curves?.points ?? [:], counts: curves?.counts ?? []) {
            try Interruption.request.check()
            Terminal.shared.advance(by: 1, detail: "")
        }
        record.curve_losses = curves?.losses ?? ComparisonRecord.CurveLosses()
        if curves != nil { record.curve_losses.held_out = curveTokens != nil }
        return record
    }

    private func about(_ loaded: ScoringInput.Loaded, _ plugins: [any LoadedPlugin]) -> [ComparisonRecord.Fact] {
        [
            .init("model", lastComponent(input.model)), .init("SAE", lastComponent(input.sae)),
            .init(loaded.hook.fact.name, loaded.hook.fact.value),
            .init("candidates", "\(loaded.spliced.candidateCount) of \(loaded.sae.dSAE)"),
            .init("spliced prefix", "\(loaded.spliced.splicedWidth)" + (input.errorTerm ? ", error term added" : "")),
            .init("tokens", "\(lastComponent(input.tokens)), \(loaded.tokens.sequenceCount) × \(loaded.tokens.length)"),
            .init("scorers", plugins.map { "\($0.name) \($0.version)" }.joined(separator: ", ")),
            .init("SHA-256 of scorers", plugins.map { "\($0.name) \($0.sha256)" }.joined(separator: ", ")),
            .init("decoder norms", loaded.scale.rawValue), .init("dmsae", DMSAE.version),
        ]
    }

    /// Everything that the numbers depend on.
    private func recorded(_ key: PassKey) -> [String: String] {
        var all = key.entries
        all["dmsae"] = DMSAE.version
        all["tau"] = "\(tau)"
        all["draws"] = "\(draws)"
        all["seed"] = "\(seed)"
        return all
    }

    private func printTable(_ record: ComparisonRecord) {
        print(
            "\(record.candidates) candidates, \(record.scored_tokens) scored tokens of \(record.sequences) sequences; "
                + "core at τ = \(record.shownTau), intervals of 95% from \(draws) draws "
                + "of sequences\n")
        let first = record.methods.first?.name ?? ""
        func pair(_ name: String) -> ComparisonRecord.Pair? {
            record.pairs.first { $0.first == first && $0.second == name }
        }
        func show(_ interval: Interval?) -> String {
            guard let interval, !interval.value.isNaN else { return "-" }
            return "\(short(interval.value, 2)) [\(short(interval.low, 2)), \(short(interval.high, 2))]"
        }
        var table = TextTable([
            ("method", 6), ("core", 5), ("ρ with \(first)", 19), ("Jaccard", 17), ("ρ of halves", 17),
            ("removal area", 17),
            ("kept area", 17), ("fires", 6), ("seconds", 8),
        ])
        for method in record.methods {
            let core = (try? CoreSelection(method.scores, fraction: tau).latents.count) ?? 0
            table.add([
                method.name, "\(core)", show(pair(method.name)?.spearman), show(pair(method.name)?.jaccard),
                show(method.halves?.spearman), show(method.faithfulness?.removed_area),
                show(method.faithfulness?.kept_area),
                short(method.core_frequency.mean, 2), method.cost.map { short($0.seconds, 1) } ?? "-",
            ])
        }
        for line in table.lines { print(line) }
        print("")
        for sentence in record.summary { print(printable(sentence)) }
        print("\n\(out)/report.html")
    }
}

/// The largest resident memory of this process so far, MiB.
func peakMemory() -> Double {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return Double(usage.ru_maxrss) / 1024
}
