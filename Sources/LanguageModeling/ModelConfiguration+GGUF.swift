import TensorFiles

extension ModelConfiguration {
    /// Reads the metadata of a GGUF file. As with config.json, a key that would change the numbers is understood or refused.
    ///
    /// Throws `LanguageModelError`.
    public init(gguf file: GGUFFile) throws {
        let settings = GGUFSettings(file)
        try settings.requireWholeModel()
        guard let name = try settings.text("general.architecture"), name == "llama" else {
            throw LanguageModelError.unsupportedArchitecture(
                file: file.path, found: try settings.text("general.architecture") ?? "none named")
        }
        architecture = .llama
        layerCount = try settings.integer("llama.block_count")
        dModel = try settings.integer("llama.embedding_length")
        headCount = try settings.integer("llama.attention.head_count")
        keyValueHeadCount = try settings.integer("llama.attention.head_count_kv", else: headCount)
        headDimension = try settings.integer(
            "llama.attention.key_length", else: headCount > 0 ? dModel / headCount : 0)
        intermediateSize = try settings.integer("llama.feed_forward_length")
        contextLength = try settings.integer("llama.context_length")
        let tokens = file.metadata["tokenizer.ggml.tokens"]?.strings?.count
        vocabularySize = try settings.integer("llama.vocab_size", else: tokens)
        ropeTheta = try settings.number("llama.rope.freq_base", else: 10_000)
        ropeScaling = .none
        rmsNormEpsilon = try settings.number("llama.attention.layer_norm_rms_epsilon")
        isHeadTied = file.tensors["output.weight"] == nil
        beginningTokenId = try settings.tokenId("bos")
        let end = try settings.tokenId("eos")
        endTokenIds = end.map { [$0] } ?? []
        paddingTokenId = try settings.has("tokenizer.ggml.padding_token_id") ? settings.tokenId("padding") : end

        if let tokens, tokens != vocabularySize {
            throw LanguageModelError.badSetting(
                file: file.path, key: "llama.vocab_size", found: "\(vocabularySize)",
                wanted: "\(tokens), the number of tokenizer.ggml.tokens")
        }
        try settings.require("llama.rope.scaling.type", .string("none"), "none")
        for key in ["llama.rope.dimension_count", "llama.attention.value_length"] {
            try settings.require(key, .integer(headDimension), "the head dimension, \(headDimension)")
        }
        try settings.refuseOtherFunctions()
        try validate(file: file.path)
    }
}

/// Metadata of a GGUF file by exactly the kind it must have.
struct GGUFSettings {
    private let path: String
    private let metadata: [String: GGUFValue]

    init(_ file: GGUFFile) { (path, metadata) = (file.path, file.metadata) }

    func has(_ key: String) -> Bool { metadata[key] != nil }

    func integer(_ key: String, else fallback: Int? = nil) throws -> Int {
        try take(key, else: fallback, "a whole number", \.integer)
    }

    func number(_ key: String, else fallback: Double? = nil) throws -> Double {
        let value = try take(key, else: fallback, "a number", \.real)
        // Stored in single precision: the shortest decimal that rounds to it is what the model's author wrote.
        return Double("\(Float(value))") ?? value
    }

    func text(_ key: String) throws -> String? {
        guard metadata[key] != nil else { return nil }
        return try take(key, else: nil, "a text", \.string)
    }

    /// A special token; −1, also as the largest number of 32 bits, stands for none.
    func tokenId(_ name: String) throws -> Int? {
        let key = "tokenizer.ggml.\(name)_token_id"
        guard metadata[key] != nil else { return nil }
        let id = try integer(key)
        return id == -1 || id == Int(UInt32.max) ? nil : id
    }

    /// - Throws: `unsupportedSetting` where the key is there with another value than `supported`.
    func require(_ key: String, _ supported: GGUFValue, _ wanted: String) throws {
        if let value = metadata[key], value != supported {
            throw LanguageModelError.unsupportedSetting(file: path, key: key, found: value.shown, supported: wanted)
        }
    }

    /// - Throws: `unsupportedSetting` for a part of a split model, and for what is no model at all.
    func requireWholeModel() throws {
        if let count = metadata["split.count"], count != .integer(0), count != .integer(1) {
            let number =
                metadata["split.no"]?.integer.flatMap { $0 >= 0 && $0 < 1 << 16 ? "part \($0 + 1)" : nil } ?? "a part"
            throw LanguageModelError.partOfModel(file: path, part: "\(number) of \(count.shown)")
        }
        try require("general.type", .string("model"), "\"model\"")
        try require("general.quantization_version", .integer(2), "2")
    }

    /// Refuses keys that make another function, and keys that nobody here has heard of.
    func refuseOtherFunctions() throws {
        for (key, neutral) in Self.neutral {
            guard let value = metadata[key] else { continue }
            // 1 and 1.0 are the same factor.
            guard neutral.contains(where: { $0 == value || $0.real != nil && $0.real == value.real }) else {
                throw LanguageModelError.unsupportedSetting(
                    file: path, key: key, found: value.shown,
                    supported: neutral.map(\.shown).joined(separator: " or "))
            }
        }
        for key in metadata.keys.sorted() where !Self.isKnown(key) {
            throw LanguageModelError.unknownSetting(file: path, key: key, found: metadata[key]?.shown ?? "")
        }
    }

    /// Keys of llama.cpp that change the function unless they have one of these values.
    private static let neutral: [(key: String, values: [GGUFValue])] = [
        ("llama.rope.scale_linear", [.real(1), .real(0)]), ("llama.rope.scaling.factor", [.real(1), .real(0)]),
        ("llama.rope.scaling.attn_factor", [.real(1)]), ("llama.attention.causal", [.boolean(true)]),
        ("llama.attention.sliding_window", [.integer(0)]), ("llama.attention.clamp_kqv", [.real(0)]),
        ("llama.attention.max_alibi_bias", [.real(0)]), ("llama.attention.scale", [.real(0)]),
        ("llama.logit_scale", [.real(1), .real(0)]), ("llama.residual_scale", [.real(1), .real(0)]),
        ("llama.embedding_scale", [.real(1), .real(0)]), ("llama.expert_count", [.integer(0)]),
        ("llama.expert_used_count", [.integer(0)]), ("llama.use_parallel_residual", [.boolean(false)]),
        ("llama.pooling_type", [.integer(0)]), ("llama.tensor_data_layout", [.string("Meta AI original pth")]),
    ]

    /// Read by `init(gguf:)` or by the tokenizer; then what says how a file was made and how text is generated.
    private static let known: Set = [
        "llama.block_count", "llama.embedding_length", "llama.attention.head_count", "llama.attention.head_count_kv",
        "llama.attention.key_length", "llama.attention.value_length", "llama.feed_forward_length",
        "llama.context_length",
        "llama.vocab_size", "llama.rope.freq_base", "llama.rope.dimension_count", "llama.rope.scaling.type",
        "llama.attention.layer_norm_rms_epsilon", "split.no", "split.count", "split.tensors.count",
        "llama.rope.scaling.finetuned", "llama.rope.scaling.original_context_length",
    ]

    private static func isKnown(_ key: String) -> Bool {
        // Nothing under these names is read by llama.cpp when a model is run; the tokenizer looks at its own.
        for space in ["general.", "tokenizer.", "quantize.", "imatrix.", "mradermacher."] where key.hasPrefix(space) {
            return true
        }
        return known.contains(key) || neutral.contains { $0.key == key }
    }

    private func take<Value>(
        _ key: String, else fallback: Value?, _ wanted: String, _ read: (GGUFValue) -> Value?
    ) throws -> Value {
        guard let value = metadata[key] else {
            guard let fallback else { throw LanguageModelError.missingSetting(file: path, key: key) }
            return fallback
        }
        guard let result = read(value) else {
            throw LanguageModelError.badSetting(file: path, key: key, found: value.shown, wanted: wanted)
        }
        return result
    }
}
