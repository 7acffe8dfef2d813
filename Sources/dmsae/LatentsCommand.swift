import ArgumentParser
import Attribution
import Distillation
import LanguageModeling
import LatentExports
import LinearAlgebra
import Reports
import SAEFormats
import SparseCoding
import TensorFiles

/// `dmsae latents`: what latents mean.
struct LatentsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "latents", abstract: "Show where latents fire most and which tokens they promote.",
        discussion: """
            Contexts are those of the highest activations, one a sequence, the highest token in brackets. Promoted tokens are \
            those whose logits the decoder row raises most on its direct way through the final norm's weights and the \
            unembedding. With --export it writes latents for the tools that the field looks at them with, and what they have no \
            place for into dmsae.jsonl: when each was born, which cycles selected it again, what methods say of it.

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
    @Flag(help: "All latents that fire, and not those of the core alone.")
    var all = false
    @Option(
        help: ArgumentHelp(
            "How many of them; of an SAE without a list or a core, those that fire most often. Default 20, or all with --core, --latents, --all or --export."
        ))
    var count: Int?
    @Option(help: "Contexts of each.")
    var contexts = 5
    @Option(help: "Tokens to look at.")
    var tokens = 16384
    @Option(
        help:
            "HTML file to write, to search, sort and filter them in; of more than 1000 with a folder of details beside it."
    )
    var html: String?
    @OptionGroup var exports: LatentExportOptions
    @OptionGroup var corpus: CorpusOptions
    @OptionGroup var splice: SpliceOptions
    @OptionGroup var scaling: ScaleOptions
    @OptionGroup var place: DeviceOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        _ = try hook.place(layer: layer)
        try require("--tokens", tokens, in: OptionRange.tokens)
        try require("--count", count ?? 1, in: 1...Int.max)
        try require("--contexts", contexts, in: 0...Int.max)
        guard core == nil || latents == nil else { throw ValidationError("give --core or --latents, not both") }
        guard !all || latents == nil else { throw ValidationError("give --all or --latents, not both") }
    }

    func run() throws {
        output.apply()
        Interruption.install(advice: "interrupted; run the same command again to look from the start")
        try Surroundings.prepareToCompute(advice: "lower --tokens, --count, --sequences or --context")
        if let html { try OutputPlace.requireFile(html, reading: [model, sae] + corpus.text) }
        let (autoencoder, provenance, scale) = try scaling.read(sae)
        let hook = try SAEPlace(asked: try hook.place(layer: layer), provenance, sae: sae, model: model).hook
        let splice = splice.asTrained(sae, provenance)
        let named = try core.map { try inCore($0, of: autoencoder) }
        let marks = try exports.marks(core: named ?? [], sae: sae, width: autoencoder.dSAE)
        let asked = try all ? nil : named?.map(\.index) ?? listed(of: autoencoder)
        let text = try corpus.open()
        let tokenizer = try loadTokenizer(model: model)
        let loaded = try place.languageModel(model)
        guard autoencoder.dIn == loaded.configuration.dModel else {
            throw AttributionError.widthsDiffer(sae: autoencoder.dIn, model: loaded.configuration.dModel)
        }
        let source = try exports.source(model: model, loaded, sae: sae, hook, text: text)
        let folder = try exports.out.map { try ExportFolder($0) }
        let inspection = try look(autoencoder, hook, splice, text, tokenizer, loaded)
        let found = asked ?? inspection.byFrequency
        guard !found.isEmpty else {
            throw AttributionError.nothingFires(latents: autoencoder.dSAE, tokens: inspection.tokenCount)
        }
        let most = count ?? (all || named != nil || latents != nil || folder != nil ? found.count : 20)
        let shown = Array(found.prefix(most))
        if let html { try write(html, inspection, shown, marks, hook, loaded, scale) }
        if let folder {
            let exported = ExportedLatents(
                inspection, latents: shown, marks: marks, width: autoencoder.dSAE, source: source)
            let about = try about(hook, splice, text, tokenizer, loaded, scale)
            if let record = try exports.write(exported, to: folder, about: about) {
                try report(record, of: autoencoder)
            }
        } else if output.json {
            print(try JSONRecord.text(try records(inspection, shown)))
        } else {
            // Who asked for a page looks there.
            let few = html == nil ? shown : Array(shown.prefix(20))
            for record in try records(inspection, few) { show(record) }
        }
        guard let html, !output.json else { return }
        print(html)
        if shown.count > LatentsReport.mostAlone {
            Terminal.shared.note(
                "of \(shown.count) latents the details lie beside the page; `dmsae serve \(html)` shows them")
        }
    }

    /// Runs the text through model and SAE.
    private func look(
        _ autoencoder: SparseAutoencoder, _ hook: HookPoint, _ splice: SpliceOptions, _ text: Corpus,
        _ tokenizer: Tokenizer, _ loaded: any LanguageModel
    ) throws -> LatentInspection {
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
        corpus.warn(of: text, data, tokens: tokens, "looked at")
        guard inspection.tokenCount > 0 else { throw AttributionError.nothingScored(tokens: data.deliveredTokenCount) }
        return inspection
    }

    private func records(_ inspection: LatentInspection, _ latents: [Int]) throws -> [LatentRecord] {
        var extent = LatentInspection.Extent()
        extent.contexts = contexts
        return inspection.records(of: latents, extent)
    }

    /// Writes the page.
    private func write(
        _ html: String, _ inspection: LatentInspection, _ latents: [Int], _ marks: [Int: LatentMark], _ hook: HookPoint,
        _ loaded: any LanguageModel, _ scale: LatentScale
    ) throws {
        var facts = [
            ComparisonRecord.Fact("model", lastComponent(model)), .init("SAE", lastComponent(sae)),
            .init(hook.fact.name, hook.fact.value),
            .init(
                "text",
                "\(corpus.text.map(lastComponent).joined(separator: ", ")), \(inspection.tokenCount) tokens"),
            .init("decoder norms", scale.rawValue), .init("dmsae", DMSAE.version),
        ]
        facts += loaded.deviceRecord.sorted { $0.key < $1.key }.map { .init($0.key, $0.value) }
        let title = core.map { "Latents of \(lastComponent($0))" } ?? "Latents of \(lastComponent(sae))"
        var page = LatentsReport(title: title, facts: facts, marks: marks)
        var extent = LatentInspection.Extent()
        (extent.contexts, extent.levelContexts, extent.related) = (contexts, 2, 5)
        Terminal.shared.begin("page", total: latents.count, unit: "latents")
        defer { Terminal.shared.end() }
        try page.add(
            latents,
            progress: {
                try Interruption.request.check()
                Terminal.shared.advance(by: $0, detail: "")
            }, dashboards: { inspection.dashboards(of: $0, extent) })
        try page.write(to: html)
    }

    /// What an export was made of, and how.
    private func about(
        _ hook: HookPoint, _ splice: SpliceOptions, _ text: Corpus, _ tokenizer: Tokenizer, _ loaded: any LanguageModel,
        _ scale: LatentScale
    ) throws -> [String: String] {
        var settings = corpus.recorded
        for entries in [
            hook.entries, try splice.excluded(loaded.configuration, tokenizer: tokenizer), loaded.deviceRecord,
            splice.recorded, ["decoder_norms": scale.rawValue],
        ] { settings.merge(entries) { $1 } }
        return try origin(
            [("model", modelFiles(model)), ("SAE", SAEFormats.files(sae))] + text.roles("text")
                + [("core", core.map { [$0] } ?? []), ("scores", exports.scores)], settings)
    }

    private func report(_ record: ExportFolder.Record, of autoencoder: SparseAutoencoder) throws {
        if output.json { return print(try JSONRecord.text(record)) }
        print(
            "\(record.latents) of \(autoencoder.dSAE) latents on \(record.tokens) tokens, for \(record.format), "
                + "in \(record.files.count) files of \(exports.out ?? "")")
    }

    private func inCore(_ path: String, of autoencoder: SparseAutoencoder) throws -> [CoreLatent] {
        let found = try Core.latents(of: path, in: autoencoder)
        if !found.isChecked {
            Terminal.shared.warn(
                "core.safetensors is not beside \(path), so nothing says that its latents are those of \(sae)")
        }
        return found.latents
    }

    private func listed(of autoencoder: SparseAutoencoder) throws -> [Int]? {
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
