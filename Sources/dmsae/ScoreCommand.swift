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
            Writes scores [m], core (indices, falling score), per_token [B, T, m] on request and each named output of \
            the scorer. A score is positive where the latent helps.

            Example: dmsae score --model smollm2.gguf --sae sae --layer 15 --tokens ids.safetensors --scorer gxa \
            --out scores.safetensors
            """)

    @Option(help: "Hugging Face folder or .gguf file.")
    var model: String
    @Option(help: "SAE folder.")
    var sae: String
    @Option(help: "Block whose output the SAE reads, counted from 0; the SAE's own if it names one.")
    var layer: Int?
    @Option(help: "Safetensors file with input_ids [B, T].")
    var tokens: String
    @Option(help: "Scorer: a shipped name, a path to a .so, or path.so:ID; parameters after commas.")
    var scorer = "gxa"
    @Option(help: "How a latent's scores become one: quantile:Q, mean, rms or max.")
    var aggregate = "quantile:0.99"
    @Option(help: "Fraction of all attribution that the core has.")
    var tau = 0.9
    @Option(help: "Width of the reconstruction that is spliced in; default the innermost prefix.")
    var prefix: Int?
    @Option(help: "Aggregate over all scored tokens or over those where the latent is active.")
    var over: AggregateScope = .all
    @Flag(help: "Aggregate signed scores instead of absolute ones.")
    var signed = false
    @Flag(help: "Add the SAE's error back, held constant.")
    var errorTerm = false
    @Option(help: "Candidates: the spliced prefix, or all latents.")
    var candidates: Candidates = .inner
    @Flag(help: "Write the scores of every token too.")
    var perToken = false
    @Option(help: "Sequences per pass through the model.")
    var sequences = 8
    @Option(help: "Safetensors file to write.")
    var out: String
    @OptionGroup var splice: SpliceOptions
    @Option(help: "When a plugin crashes twice on a batch: stop, or leave the batch out and say so.")
    var onPluginCrash: CrashPolicy = .stop
    @OptionGroup var plugins: PluginOptions
    @OptionGroup var output: OutputOptions

    enum CrashPolicy: String, ExpressibleByArgument, CaseIterable { case stop, skip }

    enum Candidates: String, ExpressibleByArgument, CaseIterable { case inner, all }

    func validate() throws {
        guard sequences >= 1 else { throw ValidationError("--sequences must be at least 1") }
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; nothing was written to \(out)")
        // What can be refused is refused before the work, not after it.
        try AtomicFile.requireWritable(out)
        guard tau > 0 && tau <= 1 else { throw AttributionError.badFraction(tau) }
        let how = try Aggregate(aggregate)
        let plugin = try plugins.scorer(scorer, output: out)
        let (autoencoder, provenance) = try SAEFolder.read(sae)
        guard let layer = layer ?? provenance.layer else {
            throw ValidationError("\(sae) names no layer; give --layer")
        }
        let batch = try readTokens(tokens)
        let loaded = try loadLanguageModel(path: model)
        // A model without a tokenizer (activations and ids only) has the special tokens of its configuration.
        let tokenizer = hasTokenizer(model) ? try loadTokenizer(model: model) : nil
        let policy = splice.policy(loaded.configuration, tokenizer: tokenizer)
        var settings = ScoringSettings()
        settings.prefix = prefix
        settings.errorTerm = errorTerm
        settings.allCandidates = candidates == .all
        let pass = try ScoringPass(
            model: loaded, layer: layer, sae: autoencoder, scorer: plugin, settings: settings)
        let accumulator = ScoreAccumulator(
            latents: pass.candidateCount, tokens: batch.tokenCount, aggregate: how, scope: over, isSigned: signed)
        if perToken && !plugin.scoresTokens {
            throw ValidationError("scorer \(plugin.name) gives totals and no scores of tokens; leave --per-token out")
        }
        let everyToken = perToken ? Matrix(rows: batch.tokenCount, columns: pass.candidateCount) : nil
        try pass.begin(sequences: batch.sequenceCount, tokens: batch.tokenCount)
        Terminal.shared.begin("score", total: batch.tokenCount, unit: "tokens")
        var first = 0
        while first < batch.sequenceCount {
            try Interruption.request.check()
            let last = min(first + sequences, batch.sequenceCount)
            let part = batch.sequences(first..<last)
            let sample = try SpliceSample(part, model: loaded, layer: layer, policy: policy)
            do {
                let scores = try pass.score(sample)
                scores.add(to: accumulator)
                if let everyToken { scores.scatter(into: everyToken, firstRow: first * batch.length, signed: signed) }
            } catch let error as PluginError where onPluginCrash == .skip {
                guard case .crashed = error else { throw error }
                Terminal.shared.warn("sequences \(first) to \(last - 1) are left out: \(error)")
                pass.skip(sample)
            }
            Terminal.shared.advance(by: part.tokenCount, detail: "")
            first = last
        }
        Terminal.shared.end()
        guard accumulator.tokenCount > 0 else { throw AttributionError.nothingScored(tokens: batch.tokenCount) }
        let result = try pass.totals(accumulator)
        let core = try CoreSelection(result, fraction: tau, tokens: accumulator.tokenCount, aggregate: how)
        let outputs = try pass.outputs()
        try write(result, core, everyToken, batch, outputs)
        let title =
            plugin.scoresTokens ? aggregate : outputs.first.map { "\($0.output.name) [\($0.output.unit)]" } ?? ""
        try report(result, core, scored: accumulator.tokenCount, title: title, outputs.map(\.output))
    }

    private func write(
        _ scores: [Double], _ core: CoreSelection, _ everyToken: Matrix?, _ batch: TokenBatch,
        _ outputs: [(output: ScorerOutput, values: [Double])]
    ) throws {
        var metadata = ["scorer": scorer, "aggregate": aggregate, "tau": "\(tau)"]
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
        }
        try writer.write(to: out)
    }

    private func report(
        _ scores: [Double], _ core: CoreSelection, scored: Int, title: String, _ outputs: [ScorerOutput]
    ) throws {
        if output.json {
            let report = Report(
                candidates: scores.count, scored_tokens: scored, core: core.latents, coverage: core.coverage,
                scores: scores, outputs: outputs)
            return print(try JSONRecord.text(report))
        }
        print(
            "\(scored) tokens scored; a core of \(core.latents.count) of \(scores.count) candidates has "
                + "\(decimals(100 * core.coverage, 1))% of the attribution")
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
    }
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

/// Whether a model path brings a tokenizer along.
func hasTokenizer(_ model: String) -> Bool { model.hasSuffix(".gguf") || exists(model + "/tokenizer.json") }
