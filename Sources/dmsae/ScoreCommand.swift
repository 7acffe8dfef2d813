import ArgumentParser
import Attribution
import Distillation
import LanguageModeling
import LinearAlgebra
import PluginHost
import PluginWorkers
import SparseCoding
import TensorFiles

/// `dmsae score`: one scorer on one SAE.
struct ScoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "score", abstract: "Score an SAE's latents by their attribution to next-token loss.",
        discussion: """
            Writes scores [m], core (indices, falling score) and each named output of the scorer; with --per-token also \
            per_token [B, T, m], or of ablation loss_delta_per_token [m, B, T-1]. A score is positive where the latent helps.

            Example: dmsae score --model smollm2.gguf --sae sae --layer 15 --tokens ids.safetensors --scorer gxa \
            --out scores.safetensors
            """)

    @OptionGroup var input: ScoringInput
    @Option(help: "Scorer: a shipped name, a path to a .so or .py, or path.so:ID; parameters after commas.")
    var scorer = "gxa"
    @OptionGroup var aggregation: AggregateOptions
    @Option(help: "Fraction of all attribution that the core has.")
    var tau = 0.9
    @Option(
        help: ArgumentHelp(
            "Memory for scores that are kept to aggregate them exactly; beyond it quantiles and trimmed means are to 0.4%.",
            valueName: "GiB"))
    var scoreMemory = 2.0
    @Option(help: "Candidates: the spliced prefix, or all latents.")
    var candidates = CandidateScope.inner
    @Flag(
        help: ArgumentHelp(
            "Write every token too: per_token [B, T, m], the scores, or of ablation loss_delta_per_token [m, B, T-1], what the "
                + "loss at each position becomes without the latent less what it was."))
    var perToken = false
    @Option(
        help: ArgumentHelp("Largest tensor that --per-token may write; it is held in memory too.", valueName: "GiB"))
    var perTokenLimit = 4.0
    @Option(help: "Safetensors file to write.")
    var out: String
    @Option(
        help: ArgumentHelp(
            "For a scorer that gives totals (ablation, frequency): keep its state in this file after every pass through the "
                + "model, and go on from it if it is there.", valueName: "FILE"))
    var checkpoint: String?
    @Option(
        help: ArgumentHelp(
            "Score only this part of the sequences, into --checkpoint, and write no scores.", valueName: "I/N"))
    var shard: Shard?
    @Option(
        help: ArgumentHelp(
            "Checkpoint of a finished shard; every one, in order, instead of scoring.", valueName: "FILE"))
    var merge: [String] = []
    @Option(help: "When a plugin crashes twice on a batch: stop, or leave the batch out and say so.")
    var onPluginCrash: CrashPolicy = .stop
    @OptionGroup var plugins: PluginOptions
    @OptionGroup var output: OutputOptions

    /// Part I of N, counted from 1.
    struct Shard: ExpressibleByArgument {
        let index: Int
        let count: Int

        init?(argument: String) {
            let parts = argument.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
            // So few that no product with a number of sequences overflows.
            guard parts.count == 2, let index = parts[0], let count = parts[1], (1...1_000_000).contains(count),
                (1...count).contains(index)
            else { return nil }
            (self.index, self.count) = (index, count)
        }

        /// Its sequences; as many shards as sequences are the most.
        func range(of sequences: Int) throws -> Range<Int> {
            guard count <= sequences else {
                throw ValidationError(
                    "--shard is \(index)/\(count), and there are \(sequences) sequences; cut them into \(sequences) shards or fewer"
                )
            }
            return sequences * (index - 1) / count..<sequences * index / count
        }
    }

    enum CrashPolicy: String, ExpressibleByArgument, CaseIterable { case stop, skip }

    func validate() throws {
        if shard != nil && checkpoint == nil { throw ValidationError("--shard needs --checkpoint, the file to write") }
        try require("--score-memory", scoreMemory, in: 0...1e6)
        try require("--per-token-limit", perTokenLimit, in: 0...1e6)
        if perToken && (checkpoint != nil || !merge.isEmpty) {
            throw ValidationError(
                "a checkpoint keeps no numbers of tokens; leave --per-token out, or --checkpoint and --merge")
        }
        if !merge.isEmpty && (shard != nil || checkpoint != nil) {
            throw ValidationError("--merge reads finished shards; leave --shard and --checkpoint out")
        }
        if case .time = input.budget, checkpoint != nil || !merge.isEmpty {
            throw ValidationError(
                "a --budget in time is another number of forwards each time, and parts of one pass need the same; give the "
                    + "number that a run without --checkpoint prints")
        }
    }

    func run() throws {
        output.apply()
        Interruption.install(
            advice: checkpoint.map { "interrupted; run the same command again to go on from \($0)" }
                ?? "interrupted; nothing was written to \(out)")
        try Surroundings.prepareToCompute(advice: "lower --sequences, --score-memory or --prefix, or give fewer tokens")
        try requirePlaces()
        guard tau > 0 && tau <= 1 else { throw AttributionError.badFraction(tau) }
        let how = try aggregation.resolved()
        let plugin = try plugins.scorer(scorer, output: out)
        aggregation.warnOfUnused([plugin])
        let loaded = try input.load(allCandidates: candidates == .all)
        let limit = try input.budget?.forwards(loaded)
        let pass = ScoringPass(
            loaded.spliced, scorer: plugin, budget: Terminal.evaluations(of: scorer, limit: limit), means: loaded.means)
        let accumulator = ScoreAccumulator(
            latents: pass.candidateCount, tokens: loaded.tokens.tokenCount, aggregate: how, scope: aggregation.scope,
            isSigned: aggregation.signed, memory: Int(scoreMemory * Double(1 << 30)))
        try accumulator.memory.check()
        if perToken { try checkPerToken(plugin, pass, loaded.tokens) }
        let key = try passKey(plugin, loaded, limit: limit)
        let kept = try checkpoint.map {
            ScoringRun.Checkpoint($0, try OutputLock.file($0) { "go on with --checkpoint \($0)" })
        }
        defer { withExtendedLifetime(kept) {} }
        let run = try ScoringRun(
            pass, accumulator, over: loaded.sequences, part: try shard?.range(of: loaded.tokens.sequenceCount), key: key
        )
        if perToken { run.keepEveryToken(of: plugin) }
        try score(run, plugin, keeping: kept)
        loaded.warnOfMisfit()
        if let shard, let checkpoint {
            return print("shard \(shard.index) of \(shard.count), sequences \(run.part), is in \(checkpoint)")
        }
        try warn(of: run, plugin, how)
        let result = try run.result(tau: tau) { outputs in
            plugin.scoresTokens
                ? .aggregate(how, aggregation.scope, isSigned: aggregation.signed)
                : .total(outputs.first?.name ?? plugin.name)
        }
        try result.write(to: out, about: try metadata(run.key, plugin, how, leftOut: run.leftOut))
        let own = result.outputs.first?.output
        let title = plugin.scoresTokens ? "\(how)" : own.map { "\($0.name) [\($0.unit)]" } ?? ""
        try report(result, title: title, leftOut: run.leftOut, loaded.scale)
    }

    /// What can be refused is refused before the work, not after it.
    private func requirePlaces() throws {
        let inputs = [input.model, input.sae, input.tokens] + merge
        try OutputPlace.requireFile(out, reading: inputs)
        guard let checkpoint else { return }
        guard checkpoint != out else { throw ValidationError("--out and --checkpoint name one file; give two") }
        try OutputPlace.requireFile(checkpoint, reading: inputs)
    }

    /// Takes in what is there, and scores the rest.
    private func score(
        _ run: ScoringRun, _ plugin: any AttributionScorer & LoadedPlugin, keeping checkpoint: ScoringRun.Checkpoint?
    ) throws {
        let kept = KeptStates(plugin, run.key)
        if !merge.isEmpty { try run.merge(merge, vet: kept.vet) }
        if let checkpoint { try run.resume(checkpoint, vet: kept.vet) }
        run.key = kept.keyWithOthers
        Terminal.shared.begin("score", total: run.remainingTokens, unit: "tokens")
        defer { Terminal.shared.end() }
        try run.run(keeping: checkpoint, watch: Terminal.watch) { sequences, error in
            guard onPluginCrash == .skip, case WorkerError.crashed = error else { return false }
            Terminal.shared.warn(
                "sequences \(sequences.lowerBound) to \(sequences.upperBound - 1) are left out: \(error)")
            return true
        }
    }

    /// Says what of the pass is not as it would be.
    ///
    /// - Throws: `WorkerError.crashedThroughout` for a scorer that crashed on everything.
    private func warn(of run: ScoringRun, _ plugin: any LoadedPlugin, _ how: Aggregate) throws {
        if !run.leftOut.isEmpty && (checkpoint != nil || !merge.isEmpty) {
            Terminal.shared.warn(
                "\(run.leftOut.count) sequences are left out, the plugin crashed on them: \(run.leftOut)")
        }
        guard run.leftOut.isEmpty || run.accumulator.tokenCount > 0 else {
            throw WorkerError.crashedThroughout(plugin: plugin.name, path: plugin.path)
        }
        let error = run.accumulator.relativeError
        if error > 0 {
            Terminal.shared.warn(
                "not all scores fit into --score-memory \(scoreMemory): each latent's \(how) is to "
                    + "\(decimals(100 * error, 1))% of its value; raise it for exact ones")
        }
    }

    /// Refuses --per-token for a scorer of which nothing is known token by token, and a file of absurd size.
    private func checkPerToken(
        _ plugin: any AttributionScorer & LoadedPlugin, _ pass: ScoringPass, _ batch: TokenBatch
    ) throws {
        let outputs = plugin.accumulation?.outputs ?? []
        guard plugin.scoresTokens || pass.terms != nil else {
            throw ValidationError(
                "scorer \(plugin.name) gives totals and no scores of tokens or terms of sequences; leave --per-token out"
            )
        }
        if !plugin.scoresTokens, let name = pass.terms?.perTokenName, outputs.contains(where: { $0.name == name }) {
            throw ValidationError("scorer \(plugin.name) has an output \(name) of its own; leave --per-token out")
        }
        let size = pass.perTokenBytes(tokens: batch.tokenCount) / 0x1p30
        guard size <= perTokenLimit else {
            throw ValidationError(
                "--per-token would write \(pass.candidateCount) latents × \(batch.tokenCount) tokens, \(decimals(size, 2)) GiB; "
                    + "score fewer tokens or a smaller --prefix, or raise --per-token-limit (\(decimals(perTokenLimit, 2)))"
            )
        }
    }

    /// All that the scores, and a scorer's state, depend on.
    private func passKey(
        _ plugin: any AttributionScorer & LoadedPlugin, _ loaded: ScoringInput.Loaded, limit: Int?
    ) throws -> PassKey {
        if checkpoint != nil || !merge.isEmpty, plugin.accumulation == nil || plugin.scoresTokens {
            throw ValidationError(
                "scorer \(plugin.name) gives scores of tokens, which have no state to keep; leave --checkpoint, --shard and "
                    + "--merge out")
        }
        var key = try input.key(loaded)
        key["scorer"] = plugin.setting + (plugin.accumulation.map { " state \($0.stateVersion)" } ?? "")
        key["scorer.version"] = plugin.version
        for (file, sha256) in PluginBuilds([plugin]).entries { key[file] = sha256 }
        key["budget"] = limit.map(String.init) ?? "none"
        return key
    }

    /// What scores are of, and how they were made.
    private func metadata(
        _ key: PassKey, _ plugin: any AttributionScorer & LoadedPlugin, _ how: Aggregate, leftOut: [Int]
    ) throws -> [String: String] {
        var metadata = key.entries
        metadata["dmsae"] = DMSAE.version
        metadata["scorer"] = scorer
        metadata["scorer.id"] = plugin.name
        metadata["scorer.version"] = plugin.version
        metadata["scorer.settings"] = plugin.parameters.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
        metadata["scorer.sha256"] = plugin.sha256
        metadata["aggregate"] = plugin.scoresTokens ? "\(how)" : "none: the scorer's totals"
        if plugin.scoresTokens {
            metadata["over"] = aggregation.scope.rawValue
            metadata["signed"] = "\(aggregation.signed)"
            metadata["score_memory"] = "\(scoreMemory)"
        }
        metadata["tau"] = "\(tau)"
        if !leftOut.isEmpty { metadata["left_out_sequences"] = "\(leftOut)" }
        return metadata
    }

    private func report(_ result: ScoringResult, title: String, leftOut: [Int], _ scale: LatentScale) throws {
        let (scores, core) = (result.scores, result.core)
        if output.json {
            let report = Report(
                candidates: scores.count, scored_tokens: result.scoredTokens, core: core.latents,
                coverage: core.coverage,
                scores: scores, outputs: result.outputs.map(\.output), left_out_sequences: leftOut,
                decoder_norms: scale.rawValue)
            return print(try JSONRecord.text(report))
        }
        print(
            "\(result.scoredTokens) tokens scored; a core of \(core.latents.count) of \(scores.count) candidates has "
                + "\(decimals(100 * core.coverage, 1))% of the attribution")
        if !leftOut.isEmpty { print("\(leftOut.count) sequences are left out: the plugin crashed on them") }
        print("  rank  latent  \(title)")
        for (rank, latent) in core.latents.prefix(10).enumerated() {
            print(pad("\(rank + 1)", 6) + pad("\(latent)", 8) + "  " + significant(scores[latent]))
        }
    }

    private func pad(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }

    private func significant(_ value: Double) -> String { String(Float(value)) }

    private struct Report: Encodable {
        var candidates: Int
        var scored_tokens: Int
        var core: [Int]
        var coverage: Double
        var scores: [Double]
        var outputs: [ScorerOutput]
        var left_out_sequences: [Int]
        var decoder_norms: String
    }
}
