import ArgumentParser
import Attribution
import LanguageModeling
import SAEFormats
import SparseCoding
import TensorFiles

/// What is evaluated, and on what: an SAE, the model that it is of, and text.
struct EvaluationInput: ParsableArguments {
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

    func validate() throws {
        _ = try hook.place(layer: layer)
        try require("--tokens", tokens, in: OptionRange.tokens)
    }

    /// All of it, read.
    struct Loaded {
        let sae: SparseAutoencoder
        let provenance: SAEProvenance
        let place: SAEPlace
        let text: Corpus
        let tokenizer: Tokenizer?
        let model: any LanguageModel
        let splice: SpliceOptions
        let policy: SplicePolicy
        let data: TokenDataset
    }

    /// Reads model, SAE and the beginning of the text.
    func load() throws -> Loaded {
        let (autoencoder, provenance) = try SAEFormats.read(sae)
        let place = try SAEPlace(asked: try hook.place(layer: layer), provenance, sae: sae, model: model)
        let splice = splice.asTrained(sae, provenance)
        let text = try corpus.open()
        let tokenizer = try corpus.tokenizer(model: model, for: text)
        let loaded = try device.languageModel(model)
        guard autoencoder.dIn == loaded.configuration.dModel else {
            throw AttributionError.widthsDiffer(sae: autoencoder.dIn, model: loaded.configuration.dModel)
        }
        return Loaded(
            sae: autoencoder, provenance: provenance, place: place, text: text, tokenizer: tokenizer, model: loaded,
            splice: splice, policy: try splice.policy(loaded.configuration, tokenizer: tokenizer),
            data: try corpus.dataset(of: text, tokenizer, loaded, tokens: tokens))
    }

    /// Everything that numbers of it depend on, for records.
    func recorded(_ loaded: Loaded) throws -> [String: String] {
        var settings = corpus.rows.recorded
        settings["tokens"] = "\(tokens)"
        settings["skip"] = "\(corpus.skip)"
        let excluded = try splice.excluded(loaded.model.configuration, tokenizer: loaded.tokenizer)
        for entries in [loaded.splice.recorded, loaded.place.hook.entries, excluded, loaded.model.deviceRecord] {
            settings.merge(entries) { $1 }
        }
        settings["model.sha256"] = try modelHash(model)
        return try origin([("SAE", SAEFormats.files(sae))] + loaded.text.roles("text"), settings)
    }
}
