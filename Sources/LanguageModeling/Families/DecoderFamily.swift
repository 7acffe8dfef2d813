import TensorFiles

/// A family of decoders: how its settings and weights are written down.
///
/// A file beside this one for each. To add one: its description of `config.json`, its table of weight names, a line in `all`,
/// golden vectors under `Tests/Fixtures/models`.
struct DecoderFamily: Sendable {
    /// `model_type` in config.json.
    let modelType: String
    /// What `architectures` lists.
    let architecture: String
    /// What a config.json of the family describes. Every setting that is not asked for is refused by the caller.
    let describe: @Sendable (ModelSettings) throws -> DecoderDescription
    /// Where its weights are in safetensors.
    let weights: WeightTable
    /// The same for GGUF, where that is known.
    var gguf: GGUFForm?

    /// How llama.cpp writes a family down.
    struct GGUFForm: Sendable {
        /// `general.architecture`.
        let name: String
        let describe: @Sendable (GGUFSettings) throws -> DecoderDescription
        let weights: WeightTable
    }

    /// All there are.
    static let all: [DecoderFamily] = [.llama, .mistral, .gemma2, .gemma3, .gpt2, .neoX, .qwen2, .qwen3]

    /// For messages.
    static var listed: String {
        all.map(\.architecture).joined(separator: ", ") + "; in GGUF files "
            + all.compactMap(\.gguf?.name).joined(separator: ", ")
    }
}
