import ArgumentParser
import Attribution
import Distillation
import LanguageModeling
import LinearAlgebra
import Reports
import SparseCoding
import TensorFiles

/// `dmsae latents`: what latents mean.
struct LatentsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "latents", abstract: "Show where latents fire most and which tokens they promote.",
        discussion: """
            Contexts are those of the highest activations, one a sequence, the highest token in brackets. Promoted tokens are \
            those whose logits the decoder row raises most on its direct way through the final norm's weights and the \
            unembedding.

            Example: dmsae latents --model smollm2.gguf --sae sae --text wiki-test.jsonl --core core/core.json --html core.html
            """)

    @Option(help: "Hugging Face folder or .gguf file.")
    var model: String
    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(help: "Block whose output the SAE reads, counted from 0; the SAE's own if it names one.")
    var layer: Int?
    @OptionGroup var hook: HookOption
    @Option(help: "core.json whose latents are shown, highest score first.")
    var core: String?
    @Option(help: ArgumentHelp("Latents to show.", valueName: "J,J,…"))
    var latents: NumberList<Int>?
    @Option(help: "How many of them; of an SAE without a list or a core, those that fire most often.")
    var count = 20
    @Option(help: "Contexts of each.")
    var contexts = 5
    @Option(help: "Tokens to look at.")
    var tokens = 16384
    @Option(help: "HTML file to write.")
    var html: String?
    @OptionGroup var corpus: CorpusOptions
    @OptionGroup var splice: SpliceOptions
    @OptionGroup var scaling: ScaleOptions
    @OptionGroup var place: DeviceOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try hook.place(layer: layer)
        try require("--tokens", tokens, in: OptionRange.tokens)
        try require("--count", count, in: 1...Int.max)
        try require("--contexts", contexts, in: 0...Int.max)
        guard core == nil || latents == nil else { throw ValidationError("give --core or --latents, not both") }
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; run the same command again to look from the start")
        try Surroundings.prepareToCompute(advice: "lower --tokens, --count, --sequences or --context")
        if let html { try OutputPlace.requireFile(html, reading: [model, sae] + corpus.text) }
        let (autoencoder, provenance, scale) = try scaling.read(sae)
        let hook = try SAEPlace(asked: try hook.place(layer: layer), provenance, sae: sae, model: model).hook
        let asked = try listed(of: autoencoder)
        let text = try corpus.open()
        let tokenizer = try loadTokenizer(model: model)
        let loaded = try place.languageModel(model)
        guard autoencoder.dIn == loaded.configuration.dModel else {
            throw AttributionError.widthsDiffer(sae: autoencoder.dIn, model: loaded.configuration.dModel)
        }
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
        var extent = LatentInspection.Extent()
        extent.contexts = contexts
        corpus.warn(of: text, data, tokens: tokens, "looked at")
        guard inspection.tokenCount > 0 else { throw AttributionError.nothingScored(tokens: data.deliveredTokenCount) }
        let found = asked ?? inspection.byFrequency
        guard !found.isEmpty else {
            throw AttributionError.nothingFires(latents: autoencoder.dSAE, tokens: inspection.tokenCount)
        }
        let records = inspection.records(of: Array(found.prefix(count)), extent)
        if let html {
            var facts = [
                ComparisonRecord.Fact("model", lastComponent(model)), .init("SAE", lastComponent(sae)),
                .init(hook.fact.name, hook.fact.value),
                .init(
                    "text", "\(corpus.text.map(lastComponent).joined(separator: ", ")), \(inspection.tokenCount) tokens"
                ),
                .init("decoder norms", scale.rawValue), .init("dmsae", DMSAE.version),
            ]
            facts += loaded.deviceRecord.sorted { $0.key < $1.key }.map { .init($0.key, $0.value) }
            let title = core.map { "Latents of \(lastComponent($0))" } ?? "Latents of \(lastComponent(sae))"
            try AtomicFile.write(LatentsReport(title: title, facts: facts, latents: records).html(), to: html)
        }
        if output.json { return print(try JSONRecord.text(records)) }
        for record in records { show(record) }
        if let html { print(html) }
    }

    private func listed(of autoencoder: SparseAutoencoder) throws -> [Int]? {
        if let core {
            let found = try Core.read(core, of: autoencoder)
            if !found.isChecked {
                Terminal.shared.warn(
                    "core.safetensors is not beside \(core), so nothing says that its latents are those of \(sae)")
            }
            return found.core.latents.map(\.index)
        }
        let width = autoencoder.dSAE
        if let bad = latents?.values.first(where: { !(0..<width).contains($0) }) {
            throw ValidationError("latent \(bad) is not one of the SAE's \(width), 0 to \(width - 1)")
        }
        return latents?.values
    }

    private func show(_ record: LatentRecord) {
        print("latent \(record.latent): fires on \(short(100 * record.frequency, 2))% of the tokens")
        func words(_ tokens: [LatentRecord.Token]) -> String {
            tokens.map { "\"\(line($0.text))\"" }.joined(separator: " ")
        }
        print("  promotes    " + words(record.promoted))
        print("  suppresses  " + words(record.suppressed))
        print(
            "  nearest     "
                + record.neighbours.prefix(5).map { "\($0.latent) (\(short($0.cosine, 2)))" }.joined(separator: ", "))
        for context in record.contexts {
            let text = context.tokens.enumerated().map { $0.offset == context.peak ? "[\($0.element)]" : $0.element }
                .joined()
            print("  \(short(context.activations[context.peak], 3))  \(line(text))")
        }
    }

    /// Text on one line, fit for a terminal.
    private func line(_ text: String) -> String { printable(text.replacing("\n", with: "⏎")) }
}
