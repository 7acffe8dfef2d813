import ArgumentParser
import Attribution
import LinearAlgebra
import SAEFormats
import TensorFiles

/// `dmsae eval core`: SAEBench's core metrics.
struct EvalCoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "core", abstract: "SAEBench's core metrics, in its own JSON, with intervals.",
        discussion: """
            Every key of sae-bench 0.6's core evaluation, by its formulas but for explained_variance, which is right here (what SAEBench \
            makes of it is kept as explained_variance_of_sae_bench_0_6). mse, explained_variance_legacy and \
            relative_reconstruction_bias depend on --sequences, as there. First positions, special tokens and attention sinks keep the \
            model's own activation; with --keep-first 0 --sinks off it is special tokens alone, as in SAEBench. Losses and \
            divergences are averaged over all tokens that are not special. Brackets hold 95% of the results when sequences are drawn again.

            Example: dmsae eval core --model smollm2.gguf --sae sae --text wiki-test.jsonl --context 128 --out core.json
            """)

    @OptionGroup var input: EvaluationInput
    @Option(help: "Draws of sequences for the intervals.")
    var draws = 200
    @Option(help: "Seed of the draws.")
    var seed: UInt64 = 0
    @Option(help: "JSON file to write, as SAEBench writes it.")
    var out: String?
    @OptionGroup var output: OutputOptions

    func validate() throws { try require("--draws", draws, in: 20...10_000) }

    func run() throws {
        output.apply()
        if let out { try OutputPlace.requireFile(out, reading: [input.model, input.sae] + input.corpus.text) }
        Interruption.install(advice: "interrupted; run the same command again to evaluate from the start")
        try Surroundings.prepareToCompute(advice: "lower --tokens, --sequences or --context")
        let loaded = try input.load()
        let context = input.corpus.context
        let evaluation = try CoreEvaluation(
            loaded.sae, model: loaded.model, hook: loaded.place.hook, policy: loaded.policy,
            sequences: input.tokens / context + 1)
        Terminal.shared.begin("evaluate", total: input.tokens, unit: "tokens")
        while let batch = try loaded.data.nextBatch(sequences: input.corpus.sequences) {
            try Interruption.request.check()
            try evaluation.add(batch)
            Terminal.shared.advance(by: batch.tokenCount, detail: "")
        }
        Terminal.shared.end()
        input.corpus.warn(of: loaded.text, loaded.data, tokens: input.tokens, "evaluated")
        Terminal.shared.warn(skippedIn: loaded.text)
        Terminal.shared.begin("compare latents", total: 2 * loaded.sae.dSAE, unit: "latents")
        let findings = try evaluation.findings(draws: draws, seed: seed) { count in
            try Interruption.request.check()
            Terminal.shared.advance(by: count, detail: "")
        }
        Terminal.shared.end()
        loaded.place.warn(explainedVariance: findings.metrics.reconstruction_quality.explained_variance)
        let record = try self.record(findings, loaded)
        if let out { try JSONRecord.write(record, to: out) }
        if output.json { return print(try JSONRecord.text(record)) }
        try show(findings)
    }

    private func record(_ findings: CoreEvaluation.Findings, _ loaded: EvaluationInput.Loaded) throws
        -> CoreEvaluationOutput.Record
    {
        let (corpus, hook) = (input.corpus, loaded.place.hook)
        var settings = try input.recorded(loaded)
        settings["seed"] = "\(seed)"
        let model = loaded.provenance.model ?? lastComponent(input.model)
        return CoreEvaluationOutput.Record(
            type: CoreEvaluationOutput.type,
            config: .init(
                model: model, text: corpus.text.map(lastComponent).joined(separator: ", "),
                sequences: findings.sequences, batch: corpus.sequences, context: corpus.context,
                excludesSpecial: loaded.splice.keepSpecial == .yes),
            metrics: findings.metrics, details: findings.features,
            extra: .init(findings, settings: settings, draws: draws),
            sae: SAEBenchSAE(
                model: model, dIn: loaded.sae.dIn, dSAE: loaded.sae.dSAE, hook: hook.name, layer: hook.block,
                context: loaded.provenance.contextLength),
            origin: .here(sae: input.sae))
    }

    private func show(_ findings: CoreEvaluation.Findings) throws {
        let all = try JSONValue(parsing: JSONRecord.text(findings.metrics)).object ?? [:]
        var table = TextTable([("", 30), ("", 8), ("95%", 20)])
        for (name, value) in all.values.flatMap({ $0.object ?? [:] }).sorted(by: { $0.key < $1.key }) {
            if case .integer(let whole) = value {
                table.add([name, String(whole), ""])
                continue
            }
            let interval = findings.intervals[name].map { "[\(decimals($0.low, 4)), \(decimals($0.high, 4))]" }
            table.add([name, decimals(value.double ?? .nan, 4), interval ?? ""])
        }
        for line in table.lines { print(line) }
        let histogram = findings.density_histogram
        print("\nlatents by log10 of the share of tokens on which they fire (core, others)")
        print("never".padded(to: 12) + "\(histogram.dead_core), \(histogram.dead_non_core)")
        for (b, edges) in zip(histogram.log10_edges, histogram.log10_edges.dropFirst()).enumerated() {
            let range = "\(edges.0) to \(edges.1)"
            print(range.padded(to: 12) + "\(histogram.core[b]), \(histogram.non_core[b])")
        }
    }
}

extension String {
    fileprivate func padded(to width: Int) -> String { self + String(repeating: " ", count: max(1, width - count)) }
}
