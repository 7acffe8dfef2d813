import ArgumentParser
import Attribution
import Distillation
import LanguageModeling
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae eval`: how well an SAE stands in for the residual stream.
struct EvalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "eval", abstract: "Measure an SAE on text, under SAEBench's names.",
        discussion: """
            Losses are in nats per token, over positions whose token and target are not special; the SAE's \
            reconstruction replaces the residual stream except at first positions, special tokens and attention sinks.

            Example: dmsae eval --model smollm2.gguf --sae sae --text wiki-test.jsonl --tokens 16384
            """)

    @Option(help: "Hugging Face folder or .gguf file.")
    var model: String
    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(help: "Block whose output the SAE reads, counted from 0; the SAE's own if it names one.")
    var layer: Int?
    @OptionGroup var hook: HookOption
    @Option(help: "Tokens to evaluate on.")
    var tokens = 8192
    @OptionGroup var corpus: CorpusOptions
    @OptionGroup var splice: SpliceOptions
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try hook.place(layer: layer)
        try require("--tokens", tokens, in: OptionRange.tokens)
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; run the same command again to evaluate from the start")
        try Surroundings.prepareToCompute(advice: "lower --tokens, --sequences or --context")
        let (autoencoder, provenance) = try SAEFormats.read(sae)
        let place = try SAEPlace(asked: try hook.place(layer: layer), provenance, sae: sae, model: model)
        let text = try corpus.open()
        let tokenizer = try corpus.tokenizer(model: model, for: text)
        let loaded = try device.languageModel(model)
        guard autoencoder.dIn == loaded.configuration.dModel else {
            throw AttributionError.widthsDiffer(sae: autoencoder.dIn, model: loaded.configuration.dModel)
        }
        let policy = try splice.policy(loaded.configuration, tokenizer: tokenizer)
        let data = try corpus.dataset(of: text, tokenizer, loaded, tokens: tokens)
        var samples: [SpliceSample] = []
        Terminal.shared.begin("run the model", total: 2 * tokens, unit: "tokens")
        while let batch = try data.nextBatch(sequences: corpus.sequences) {
            try Interruption.request.check()
            samples.append(try SpliceSample(batch, model: loaded, hook: place.hook, policy: policy))
            Terminal.shared.advance(by: batch.tokenCount, detail: "")
        }
        let evaluation = try EvaluationSet(samples, model: loaded, hook: place.hook, policy: policy) { count in
            try Interruption.request.check()
            Terminal.shared.advance(by: count, detail: "")
        }
        Terminal.shared.end()
        corpus.warn(of: text, data, tokens: tokens, "evaluated")
        Terminal.shared.begin("evaluate", total: tokens, unit: "tokens")
        let record = try evaluation.evaluate(autoencoder) { count in
            try Interruption.request.check()
            Terminal.shared.advance(by: count, detail: "")
        }
        Terminal.shared.end()
        Terminal.shared.warn(skippedIn: text)
        place.warn(explainedVariance: record.explained_variance)
        let json = try JSONRecord.text(record)
        if output.json { return print(json) }
        var values = try JSONValue(parsing: json).object ?? [:]
        for (name, part) in values {
            guard let members = part.object else { continue }
            values[name] = nil
            for (member, value) in members { values[name + "." + member] = value }
        }
        let width = values.keys.map(\.count).max() ?? 0
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            let number =
                switch value {
                case .integer(let whole): String(whole)
                case .number(let real): decimals(real, 4)
                default: "no value"
                }
            print(name + String(repeating: " ", count: width - name.count + 2) + number)
        }
    }
}
