import TensorFiles

extension ModelConfiguration {
    /// Reads the metadata of a GGUF file. Throws `LanguageModelError`.
    public init(gguf file: GGUFFile) throws {
        let name = file.metadata["general.architecture"]?.string
        guard name == "llama" else {
            throw LanguageModelError.unsupportedArchitecture(file: file.path, found: name ?? "none named")
        }
        func integer(_ key: String, else fallback: Int? = nil) throws -> Int {
            guard let value = file.metadata[key] else {
                if let fallback { return fallback }
                throw LanguageModelError.missingSetting(file: file.path, key: key)
            }
            guard let result = value.integer else {
                throw LanguageModelError.badSetting(
                    file: file.path, key: key, found: "\(value)", wanted: "a whole number")
            }
            return result
        }
        func number(_ key: String, else fallback: Double? = nil) throws -> Double {
            guard let value = file.metadata[key]?.real ?? fallback else {
                throw LanguageModelError.missingSetting(file: file.path, key: key)
            }
            // Stored in single precision: the shortest decimal that rounds to it is what the model's author wrote.
            return Double("\(Float(value))") ?? value
        }

        architecture = .llama
        layerCount = try integer("llama.block_count")
        dModel = try integer("llama.embedding_length")
        headCount = try integer("llama.attention.head_count")
        keyValueHeadCount = try integer("llama.attention.head_count_kv", else: headCount)
        headDimension = try integer("llama.attention.key_length", else: headCount > 0 ? dModel / headCount : 0)
        intermediateSize = try integer("llama.feed_forward_length")
        contextLength = try integer("llama.context_length")
        vocabularySize =
            try file.metadata["tokenizer.ggml.tokens"]?.strings?.count ?? integer("llama.vocab_size")
        ropeTheta = try number("llama.rope.freq_base", else: 10_000)
        ropeScaling = .none
        rmsNormEpsilon = try number("llama.attention.layer_norm_rms_epsilon")
        isHeadTied = file.tensors["output.weight"] == nil
        beginningTokenId = file.metadata["tokenizer.ggml.bos_token_id"]?.integer
        let end = file.metadata["tokenizer.ggml.eos_token_id"]?.integer
        endTokenIds = end.map { [$0] } ?? []
        paddingTokenId = file.metadata["tokenizer.ggml.padding_token_id"]?.integer ?? end

        if let type = file.metadata["llama.rope.scaling.type"]?.string, type != "none" {
            throw LanguageModelError.unsupportedSetting(
                file: file.path, key: "llama.rope.scaling.type", found: type, supported: "none")
        }
        for key in ["llama.rope.dimension_count", "llama.attention.value_length"] {
            let found = try integer(key, else: headDimension)
            if found != headDimension {
                throw LanguageModelError.unsupportedSetting(
                    file: file.path, key: key, found: "\(found)", supported: "the head dimension, \(headDimension)")
            }
        }
        try validate(file: file.path)
    }
}
