import ArgumentParser
import Attribution
import Distillation
import LanguageModeling
import LinearAlgebra
import PluginHost
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
    @Option(help: "Scorer: a shipped name, a path to a .so, or path.so:ID; parameters after commas.")
    var scorer = "gxa"
    @Option(help: "How a latent's scores become one: quantile:Q, mean, rms, max or trimmed:P.")
    var aggregate = "quantile:0.99"
    @Option(help: "Fraction of all attribution that the core has.")
    var tau = 0.9
    @Option(help: "Aggregate over all scored tokens or over those where the latent is active.")
    var over: AggregateScope = .all
    @Flag(help: "Aggregate signed scores instead of absolute ones.")
    var signed = false
    @Option(
        help: ArgumentHelp(
            "Memory for scores that are kept to aggregate them exactly; beyond it quantiles and trimmed means are to 0.4%.",
            valueName: "GiB"))
    var scoreMemory = 2.0
    @Option(help: "Candidates: the spliced prefix, or all latents.")
    var candidates: Candidates = .inner
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
            guard parts.count == 2, let index = parts[0], let count = parts[1], count >= 1, (1...count).contains(index)
            else { return nil }
            (self.index, self.count) = (index, count)
        }

        /// Its sequences.
        func range(of sequences: Int) -> Range<Int> { sequences * (index - 1) / count..<sequences * index / count }
    }

    enum CrashPolicy: String, ExpressibleByArgument, CaseIterable { case stop, skip }

    enum Candidates: String, ExpressibleByArgument, CaseIterable { case inner, all }

    func validate() throws {
        if shard != nil && checkpoint == nil { throw ValidationError("--shard needs --checkpoint, the file to write") }
        guard scoreMemory >= 0, scoreMemory < 1e6 else { throw ValidationError("--score-memory is \(scoreMemory)") }
        guard perTokenLimit >= 0, perTokenLimit < 1e6 else {
            throw ValidationError("--per-token-limit is \(perTokenLimit)")
        }
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
        // What can be refused is refused before the work, not after it.
        try AtomicFile.requireWritable(out)
        guard tau > 0 && tau <= 1 else { throw AttributionError.badFraction(tau) }
        let how = try Aggregate(aggregate)
        let plugin = try plugins.scorer(scorer, output: out)
        let loaded = try input.load(allCandidates: candidates == .all)
        let batch = loaded.tokens
        let limit = try input.budget?.forwards(loaded)
        let pass = ScoringPass(
            loaded.spliced, scorer: plugin, budget: Terminal.evaluations(of: scorer, limit: limit),
            means: loaded.means(step: input.sequences))
        let accumulator = ScoreAccumulator(
            latents: pass.candidateCount, tokens: batch.tokenCount, aggregate: how, scope: over, isSigned: signed,
            memory: Int(scoreMemory * Double(1 << 30)))
        if perToken { try checkPerToken(plugin, pass, batch) }
        let everyToken =
            perToken && plugin.scoresTokens ? Matrix(rows: batch.tokenCount, columns: pass.candidateCount) : nil
        if perToken && !plugin.scoresTokens {
            pass.keepLossChanges(sequences: batch.sequenceCount, length: batch.length)
        }
        try pass.begin(sequences: batch.sequenceCount, tokens: batch.tokenCount)
        let range = merge.isEmpty ? shard?.range(of: batch.sequenceCount) ?? 0..<batch.sequenceCount : 0..<0
        let key = try stateKey(plugin)
        var first = try prepare(pass, accumulator, plugin, batch, range, key: key)
        var leftOut: [Int] = []
        Terminal.shared.begin("score", total: (range.upperBound - first) * batch.length, unit: "tokens")
        while first < range.upperBound {
            try Interruption.request.check()
            let last = min(first + input.sequences, range.upperBound)
            let sample = try loaded.sample(first..<last)
            do {
                let scores = try pass.score(sample)
                scores.add(to: accumulator)
                if let everyToken { scores.scatter(into: everyToken, firstRow: first * batch.length, signed: signed) }
                // Terms that are something else are found out here, and not after the last sequence only.
                if first == range.lowerBound { _ = try pass.lossChanges() }
            } catch let error as PluginError where onPluginCrash == .skip {
                guard case .crashed = error else { throw error }
                Terminal.shared.warn("sequences \(first) to \(last - 1) are left out: \(error)")
                pass.skip(sample)
                leftOut += first..<last
            }
            Terminal.shared.advance(by: sample.tokenCount, detail: "")
            first = last
            if let checkpoint { try pass.state(key: key, from: range.lowerBound, accumulator).write(to: checkpoint) }
        }
        Terminal.shared.end()
        loaded.warnOfMisfit()
        if let shard, let checkpoint {
            return print("shard \(shard.index) of \(shard.count), sequences \(range), is in \(checkpoint)")
        }
        guard leftOut.isEmpty || accumulator.tokenCount > 0 else {
            throw PluginError.reported(
                "scorer \(plugin.name) crashed on every batch, so nothing was scored; correct \(plugin.path)")
        }
        guard accumulator.tokenCount > 0 else { throw AttributionError.nothingScored(tokens: batch.tokenCount) }
        let result = try pass.totals(accumulator)
        if accumulator.relativeError > 0 {
            Terminal.shared.warn(
                "not all scores fit into --score-memory \(scoreMemory): each latent's \(aggregate) is to "
                    + "\(decimals(100 * accumulator.relativeError, 1))% of its value")
        }
        let core = try CoreSelection(result, fraction: tau, tokens: accumulator.tokenCount, aggregate: how)
        let outputs = try pass.outputs()
        try write(result, core, everyToken, try pass.lossChanges(), batch, outputs, plugin, leftOut: leftOut)
        let title =
            plugin.scoresTokens ? aggregate : outputs.first.map { "\($0.output.name) [\($0.output.unit)]" } ?? ""
        try report(result, core, scored: accumulator.tokenCount, title: title, outputs.map(\.output), leftOut: leftOut)
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
        let size = Double(batch.tokenCount) * Double(pass.candidateCount) * 4 / 0x1p30
        guard size <= perTokenLimit else {
            throw ValidationError(
                "--per-token would write \(pass.candidateCount) latents × \(batch.tokenCount) tokens, \(decimals(size, 2)) GiB; "
                    + "score fewer tokens or a smaller --prefix, or raise --per-token-limit (\(decimals(perTokenLimit, 2)))"
            )
        }
    }

    /// All that a scorer's state depends on.
    private func stateKey(_ plugin: any AttributionScorer & LoadedPlugin) throws -> String {
        guard checkpoint != nil || !merge.isEmpty else { return "" }
        guard let accumulation = plugin.accumulation, !plugin.scoresTokens else {
            throw ValidationError(
                "scorer \(plugin.name) gives scores of tokens, which have no state to keep; leave --checkpoint, --shard and "
                    + "--merge out")
        }
        var key = try input.key()
        key["scorer"] = plugin.identity + " state \(accumulation.stateVersion)"
        key["candidates"] = candidates.rawValue
        key["budget"] = input.budget.map { "\($0)" } ?? "none"
        return try JSONRecord.text(key, pretty: false)
    }

    /// Takes in what is there, and returns the sequence to go on from.
    private func prepare(
        _ pass: ScoringPass, _ accumulator: ScoreAccumulator, _ plugin: any AttributionScorer & LoadedPlugin,
        _ batch: TokenBatch, _ range: Range<Int>, key: String
    ) throws -> Int {
        func read(_ path: String) throws -> ScoringState {
            try ScoringState.read(path, key: key, latents: pass.candidateCount, sequenceCount: batch.sequenceCount)
        }
        for path in merge { try pass.merge(try read(path), path: path, length: batch.length, accumulator) }
        guard merge.isEmpty || pass.sequencesSeen == batch.sequenceCount else {
            throw AttributionError.shardsMissing(from: pass.sequencesSeen, of: batch.sequenceCount)
        }
        pass.start(at: merge.isEmpty ? range.lowerBound : pass.sequencesSeen, length: batch.length)
        guard let checkpoint else { return range.lowerBound }
        guard exists(checkpoint) else {
            try AtomicFile.requireWritable(checkpoint)
            return range.lowerBound
        }
        let state = try read(checkpoint)
        guard state.sequences.lowerBound == range.lowerBound, state.sequences.upperBound <= range.upperBound else {
            throw AttributionError.shardsDoNotFit(path: checkpoint, found: state.sequences, wanted: range.lowerBound)
        }
        try pass.resume(state, path: checkpoint, length: batch.length, accumulator)
        return state.sequences.upperBound
    }

    private func write(
        _ scores: [Double], _ core: CoreSelection, _ everyToken: Matrix?, _ lossChanges: Matrix?, _ batch: TokenBatch,
        _ outputs: [(output: ScorerOutput, values: [Double])], _ plugin: any LoadedPlugin, leftOut: [Int]
    ) throws {
        var metadata = [
            "scorer": scorer, "aggregate": aggregate, "tau": "\(tau)", "scorer.id": plugin.name,
            "scorer.version": plugin.version, "scorer.sha256": try SHA256.hexadecimal(ofFile: plugin.path),
        ]
        if !leftOut.isEmpty { metadata["left_out_sequences"] = "\(leftOut)" }
        for (output, _) in outputs {
            metadata["\(output.name).unit"] = output.unit
            metadata["\(output.name).higher_is_better"] = "\(output.higherIsBetter)"
        }
        var writer = SafetensorsWriter(metadata: metadata)
        writer.add("scores", scores.map(Float.init), shape: [scores.count])
        writer.add("core", integers: core.latents.map { Int64($0) })
        if let everyToken {
            writer.add("per_token", everyToken, shape: [batch.sequenceCount, batch.length, scores.count])
        }
        for (output, values) in outputs {
            let shape = output.shape == .latent ? [scores.count] : [scores.count, batch.sequenceCount]
            writer.add(output.name, values.map(Float.init), shape: shape)
            if let lossChanges, output.role == .terms {
                writer.add(
                    output.perTokenName, lossChanges, shape: [scores.count, batch.sequenceCount, batch.length - 1])
            }
        }
        try writer.write(to: out)
    }

    private func report(
        _ scores: [Double], _ core: CoreSelection, scored: Int, title: String, _ outputs: [ScorerOutput], leftOut: [Int]
    ) throws {
        if output.json {
            let report = Report(
                candidates: scores.count, scored_tokens: scored, core: core.latents, coverage: core.coverage,
                scores: scores, outputs: outputs, left_out_sequences: leftOut)
            return print(try JSONRecord.text(report))
        }
        print(
            "\(scored) tokens scored; a core of \(core.latents.count) of \(scores.count) candidates has "
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
    }
}

extension ScorerOutput {
    /// The tensor of what the terms are made of token by token.
    fileprivate var perTokenName: String { name + "_per_token" }
}

extension ScoringPass.Scores {
    /// Writes the scores as rows of a dense matrix, as they are aggregated: absolute unless signed.
    func scatter(into matrix: Matrix, firstRow: Int, signed: Bool) {
        for r in 0..<codes.rows {
            for e in codes.entries(ofRow: r) {
                matrix[firstRow + r, Int(codes.columnIndices[e])] = signed ? values[e] : abs(values[e])
            }
        }
    }
}
