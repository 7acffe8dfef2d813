import ArgumentParser
import Attribution
import Distillation
import LanguageModeling
import SparseCoding
import TensorFiles

/// `dmsae eval`, `dmsae eval splice`: how well an SAE stands in for the residual stream.
struct EvalSpliceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "splice", abstract: "Losses and reconstruction with the SAE spliced in; how often its core fires.",
        discussion: """
            Losses are in nats per token, over positions whose token and target are not special; the SAE's \
            reconstruction replaces the residual stream except at first positions, special tokens and attention sinks.

            Example: dmsae eval splice --model smollm2.gguf --sae sae --text wiki-test.jsonl --tokens 16384
            """)

    @OptionGroup var input: EvaluationInput
    @OptionGroup var output: OutputOptions

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; run the same command again to evaluate from the start")
        try Surroundings.prepareToCompute(advice: "lower --tokens, --sequences or --context")
        let (corpus, tokens) = (input.corpus, input.tokens)
        let loaded = try input.load()
        let (model, place) = (loaded.model, loaded.place)
        var samples: [SpliceSample] = []
        Terminal.shared.begin("run the model", total: 2 * tokens, unit: "tokens")
        while let batch = try loaded.data.nextBatch(sequences: corpus.sequences) {
            try Interruption.request.check()
            samples.append(try SpliceSample(batch, model: model, hook: place.hook, policy: loaded.policy))
            Terminal.shared.advance(by: batch.tokenCount, detail: "")
        }
        let evaluation = try EvaluationSet(samples, model: model, hook: place.hook, policy: loaded.policy) { count in
            try Interruption.request.check()
            Terminal.shared.advance(by: count, detail: "")
        }
        Terminal.shared.end()
        corpus.warn(of: loaded.text, loaded.data, tokens: tokens, "evaluated")
        Terminal.shared.begin("evaluate", total: tokens, unit: "tokens")
        let record = try evaluation.evaluate(loaded.sae) { count in
            try Interruption.request.check()
            Terminal.shared.advance(by: count, detail: "")
        }
        Terminal.shared.end()
        Terminal.shared.warn(skippedIn: loaded.text)
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
