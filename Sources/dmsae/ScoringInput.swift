import ArgumentParser
import Attribution
import LanguageModeling
import PluginHost
import SAEFormats
import SparseCoding
import TensorFiles

/// What scorers look at: a model, an SAE, tokens, and how the one is spliced into the other.
struct ScoringInput: ParsableArguments {
    @Option(help: "Hugging Face folder or .gguf file.")
    var model: String
    @Option(help: "SAE: a folder or file in any format that convert reads.")
    var sae: String
    @Option(help: "Block whose output the SAE reads, counted from 0; the SAE's own if it names one.")
    var layer: Int?
    @OptionGroup var hook: HookOption
    @Option(
        help: "Token ids [B, T]: a safetensors file with input_ids (and attention_mask where rows are padded), or .npy."
    )
    var tokens: String
    @Option(help: "Width of the reconstruction that is spliced in; default the innermost prefix.")
    var prefix: Int?
    @Flag(help: "Add the SAE's error back, held constant.")
    var errorTerm = false
    @Option(help: "Sequences per pass through the model.")
    var sequences = 8
    @Option(
        help: ArgumentHelp(
            "Cut sequences into windows of so many tokens: a drawn ablation then costs a window instead of a sequence, but the "
                + "model sees less context, and what a latent does further on is not counted.", valueName: "TOKENS"))
    var window: Int?
    @Option(
        help: ArgumentHelp(
            "What one scorer may ask beyond the shared pass: forwards from the hook, or a time (10min). Ablation then draws "
                + "where latents fire most, and gives standard errors.", valueName: "N|TIME"))
    var budget: EvaluationLimit?
    @OptionGroup var splice: SpliceOptions
    @OptionGroup var scaling: ScaleOptions
    @OptionGroup var device: DeviceOptions

    func validate() throws {
        _ = try hook.place(layer: layer)
        try require("--sequences", sequences, in: OptionRange.sequences)
        if let window { try require("--window", window, in: OptionRange.context) }
    }

    /// All of it, read.
    struct Loaded {
        let sae: SparseAutoencoder
        let model: any LanguageModel
        let tokenizer: Tokenizer?
        let place: SAEPlace
        let scale: LatentScale
        let tokens: TokenBatch
        let splice: SpliceOptions
        let policy: SplicePolicy
        /// Sequences of a pass through the model.
        let step: Int
        let spliced: SplicedModel
        var hook: HookPoint { place.hook }

        /// Warns where the SAE does not fit what it was spliced into.
        func warnOfMisfit() { place.warn(explainedVariance: spliced.explainedVariance.value) }

        /// The sequences at the hook point, as many in a pass as was asked for.
        var sequences: SampledSequences { sequences(of: tokens) }

        /// Other sequences there.
        func sequences(of tokens: TokenBatch) -> SampledSequences {
            SampledSequences(tokens, step: step) {
                try SpliceSample($0, model: model, hook: hook, policy: policy)
            }
        }

        /// Means over all sequences, gathered when a scorer asks.
        var means: MeanActivations {
            MeanActivations(
                spliced, sequences: tokens.sequenceCount, step: step,
                progress: { _ in try Interruption.request.check() }, sample: sequences.sample)
        }
    }

    /// Reads model, SAE and tokens.
    func load(allCandidates: Bool = false) throws -> Loaded {
        let (autoencoder, provenance, scale) = try scaling.read(sae)
        let place = try SAEPlace(asked: try hook.place(layer: layer), provenance, sae: sae, model: model)
        let splice = splice.asTrained(sae, provenance)
        var batch = try readTokens(tokens)
        if let window {
            guard window <= batch.length else {
                throw ValidationError(
                    "--window is \(window); the sequences of \(tokens) have \(batch.length) tokens, so give as many or fewer"
                )
            }
            batch = batch.windows(of: window)
        }
        let loaded = try device.languageModel(model)
        // A model without a tokenizer (activations and ids only) has the special tokens of its configuration.
        let tokenizer = hasTokenizer(model) ? try loadTokenizer(model: model) : nil
        var settings = ScoringSettings()
        settings.prefix = prefix
        settings.errorTerm = errorTerm
        settings.allCandidates = allCandidates
        let spliced = try SplicedModel(model: loaded, hook: place.hook, sae: autoencoder, settings: settings)
        return Loaded(
            sae: autoencoder, model: loaded, tokenizer: tokenizer, place: place, scale: scale, tokens: batch,
            splice: splice, policy: try splice.policy(loaded.configuration, tokenizer: tokenizer), step: sequences,
            spliced: spliced)
    }

    /// All that scores depend on, but for the scorer: what is kept of one pass is not taken up by another, and what is written
    /// says what it is of.
    func key(_ loaded: Loaded) throws -> PassKey {
        var key = PassKey([
            "model.sha256": try modelHash(model) ?? "none",
            "SAE.sha256": try SHA256.hexadecimal(ofFile: SAEFormats.files(sae).last!),
            "SAE_configuration.sha256": try SHA256.hexadecimal(ofFile: SAEFormats.files(sae).first!),
            "tokens.sha256": try SHA256.hexadecimal(ofFile: tokens),
            "window": window.map(String.init) ?? "none",
            "prefix": "\(loaded.spliced.splicedWidth)", "candidates": "\(loaded.spliced.candidateCount)",
            "error_term": "\(errorTerm)", "decoder_norms": loaded.scale.rawValue,
            // The norms that tell sinks are compared with are those of the sequences of one pass.
            "sequences": "\(sequences)",
        ])
        for path in SAEFormats.files(sae).dropFirst().dropLast() {
            key["SAE_\(path.split(separator: "/").last ?? "").sha256"] = try SHA256.hexadecimal(ofFile: path)
        }
        let excluded = try splice.excluded(loaded.model.configuration, tokenizer: loaded.tokenizer)
        for entries in [loaded.splice.recorded, loaded.hook.entries, excluded, loaded.model.deviceRecord] {
            for (name, value) in entries { key[name] = value }
        }
        return key
    }
}

extension LoadedPlugin {
    /// What its numbers depend on.
    var identity: String { "\(name) \(version) \(settingList)" }

    /// The same but for which build it is.
    var setting: String { "\(name) \(settingList)" }

    private var settingList: String { parameters.map { "\($0.key)=\($0.value)" }.joined(separator: ",") }
}

/// Whether a model path brings a tokenizer along.
func hasTokenizer(_ model: String) -> Bool { model.hasSuffix(".gguf") || exists(model + "/tokenizer.json") }
