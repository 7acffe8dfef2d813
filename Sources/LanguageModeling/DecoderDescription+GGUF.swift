import TensorFiles

extension DecoderDescription {
    /// Reads the metadata of a GGUF file. As with config.json, a key that would change the numbers is understood or refused.
    ///
    /// Throws `LanguageModelError`.
    package init(gguf file: GGUFParts) throws { self = try GGUFSettings(file).description().description }
}

/// Metadata of a GGUF file by exactly the kind it must have. A key without a namespace is one of the file's architecture:
/// `block_count` is `llama.block_count`. Which keys were asked for is remembered: others of the architecture are refused at the end.
final class GGUFSettings {
    private let path: String
    private let file: GGUFParts
    private let metadata: [String: GGUFValue]
    private let architecture: String?
    private var asked: Set<String> = []
    /// Whether the file has no head of its own.
    let isHeadTied: Bool

    init(_ file: GGUFParts) {
        (self.file, path, metadata) = (file, file.path, file.metadata)
        architecture = metadata["general.architecture"]?.string
        isHeadTied = file["output.weight"] == nil
    }

    /// The form that the file names, and what it makes of the file.
    func description() throws -> (description: DecoderDescription, form: DecoderFamily.GGUFForm) {
        try requireModel()
        guard let form = DecoderFamily.all.lazy.compactMap(\.gguf).first(where: { $0.name == self.architecture }) else {
            throw LanguageModelError.unsupportedArchitecture(
                file: path, found: try text("general.architecture") ?? "none named")
        }
        let description = try form.describe(self)
        try refuseOtherFunctions()
        try description.validate(file: path)
        return (description, form)
    }

    /// Sizes and special tokens, the same keys in every architecture.
    func configuration() throws -> ModelConfiguration {
        let tokens = metadata["tokenizer.ggml.tokens"]?.strings?.count
        var configuration = ModelConfiguration(
            family: architecture ?? "", layerCount: try integer("block_count"), dModel: try integer("embedding_length"),
            vocabularySize: try integer("vocab_size", else: tokens), contextLength: try integer("context_length"))
        if let tokens, tokens != configuration.vocabularySize {
            throw LanguageModelError.badSetting(
                file: path, key: whole("vocab_size"), found: "\(configuration.vocabularySize)",
                wanted: "\(tokens), the number of tokenizer.ggml.tokens")
        }
        configuration.beginningTokenId = try tokenId("bos")
        let end = try tokenId("eos")
        configuration.endTokenIds = end.map { [$0] } ?? []
        configuration.paddingTokenId = try has("tokenizer.ggml.padding_token_id") ? tokenId("padding") : end
        // Lists are made of it before it is checked with the rest.
        guard (1...1 << 20).contains(configuration.layerCount) else {
            throw LanguageModelError.badSetting(
                file: path, key: "number of layers", found: "\(configuration.layerCount)", wanted: "1 to \(1 << 20)")
        }
        return configuration
    }

    func attention(_ configuration: ModelConfiguration) throws -> AttentionDescription {
        let heads = try integer("attention.head_count")
        let dimension = try integer("attention.key_length", else: heads > 0 ? configuration.dModel / heads : 0)
        for key in ["rope.dimension_count", "attention.value_length"] {
            try require(key, .integer(dimension), "the head dimension, \(dimension)")
        }
        return AttentionDescription(
            headCount: heads, keyValueHeadCount: try integer("attention.head_count_kv", else: heads),
            headDimension: dimension)
    }

    /// `rope.scaling.type`, linear where nothing is said: the frequencies are divided by `rope.scaling.factor`, in older files
    /// `rope.scale_linear`; without one, or by 0, they stay.
    func ropeScaling() throws -> RotaryScaling {
        let type = try text("rope.scaling.type") ?? "linear"
        for key in ["finetuned", "original_context_length", "factor"] { _ = has("rope.scaling." + key) }
        _ = has("rope.scale_linear")
        switch type {
        case "none": return .none
        case "linear":
            let factor = try number("rope.scaling.factor", else: try number("rope.scale_linear", else: 1))
            guard factor >= 0, factor.isFinite else {
                throw LanguageModelError.badSetting(
                    file: path, key: whole("rope.scaling.factor"), found: "\(factor)", wanted: "a positive number")
            }
            return factor == 0 || factor == 1 ? .none : .linear(factor: factor)
        default:
            throw LanguageModelError.unsupportedSetting(
                file: path, key: whole("rope.scaling.type"), found: "\"\(type)\"", supported: "none, linear")
        }
    }

    /// What each frequency is divided by, beside its scaling: `rope_freqs.weight`, which llama.cpp's converter makes of Llama 3's
    /// scaling; nil where there is none.
    func rotaryDivisors(dimension: Int) throws -> [Double]? {
        let name = GGUFSettings.rotaryDivisorsName
        guard file[name] != nil else { return nil }
        let divisors = try file.rows(name, shape: [dimension / 2]).matrix().values.map(Double.init)
        if let i = divisors.firstIndex(where: { !($0 > 0 && $0.isFinite) }) {
            throw LanguageModelError.badSetting(
                file: path, key: "\(name)[\(i)]", found: "\(divisors[i])", wanted: "a positive number")
        }
        return divisors
    }

    static let rotaryDivisorsName = "rope_freqs.weight"

    /// A key with its namespace.
    private func whole(_ key: String) -> String {
        let spaces = ["general.", "tokenizer.", "split.", "quantize.", "imatrix.", "mradermacher."]
        return spaces.contains(where: key.hasPrefix) ? key : "\(architecture ?? "").\(key)"
    }

    private func value(_ key: String) -> GGUFValue? {
        asked.insert(whole(key))
        return metadata[whole(key)]
    }

    func has(_ key: String) -> Bool { value(key) != nil }

    func integer(_ key: String, else fallback: Int? = nil) throws -> Int {
        try take(key, else: fallback, "a whole number", \.integer)
    }

    func number(_ key: String, else fallback: Double? = nil) throws -> Double {
        let value = try take(key, else: fallback, "a number", \.real)
        // Stored in single precision: the shortest decimal that rounds to it is what the model's author wrote.
        return Double("\(Float(value))") ?? value
    }

    func truth(_ key: String, else fallback: Bool) throws -> Bool {
        try take(key, else: fallback, "true or false") { if case .boolean(let truth) = $0 { truth } else { nil } }
    }

    func text(_ key: String) throws -> String? {
        guard has(key) else { return nil }
        return try take(key, else: nil, "a text", \.string)
    }

    /// A special token; −1, also as the largest number of 32 bits, stands for none.
    func tokenId(_ name: String) throws -> Int? {
        let key = "tokenizer.ggml.\(name)_token_id"
        guard has(key) else { return nil }
        let id = try integer(key)
        return id == -1 || id == Int(UInt32.max) ? nil : id
    }

    /// - Throws: `unsupportedSetting` where the key is there with another value than `supported`.
    func require(_ key: String, _ supported: GGUFValue, _ wanted: String) throws {
        if let value = value(key), value != supported {
            throw LanguageModelError.unsupportedSetting(
                file: path, key: whole(key), found: value.shown, supported: wanted)
        }
    }

    /// - Throws: `unsupportedSetting` for what is no model at all.
    func requireModel() throws {
        try require("general.type", .string("model"), "\"model\"")
        try require("general.quantization_version", .integer(2), "2")
    }

    /// Refuses keys that make another function, and keys of the architecture that nobody has asked for.
    private func refuseOtherFunctions() throws {
        for (key, neutral) in Self.neutral where !asked.contains(whole(key)) {
            guard let value = value(key) else { continue }
            // 1 and 1.0 are the same factor.
            guard neutral.contains(where: { $0 == value || $0.real != nil && $0.real == value.real }) else {
                throw LanguageModelError.unsupportedSetting(
                    file: path, key: whole(key), found: value.shown,
                    supported: neutral.map(\.shown).joined(separator: " or "))
            }
        }
        // Nothing under these names is read by llama.cpp when a model is run; the tokenizer looks at its own.
        let others = ["general.", "tokenizer.", "quantize.", "imatrix.", "mradermacher.", "split."]
        for key in metadata.keys.sorted() where !asked.contains(key) && !others.contains(where: key.hasPrefix) {
            throw LanguageModelError.unknownSetting(file: path, key: key, found: metadata[key]?.shown ?? "")
        }
    }

    /// Keys of llama.cpp that change the function unless they have one of these values.
    private static let neutral: [(key: String, values: [GGUFValue])] = [
        ("rope.scaling.attn_factor", [.real(1)]), ("attention.causal", [.boolean(true)]),
        ("attention.sliding_window", [.integer(0)]), ("attention.clamp_kqv", [.real(0)]),
        ("attention.max_alibi_bias", [.real(0)]), ("attention.scale", [.real(0)]),
        ("attn_logit_softcapping", [.real(0)]),
        ("final_logit_softcapping", [.real(0)]), ("logit_scale", [.real(1), .real(0)]),
        ("residual_scale", [.real(1), .real(0)]), ("embedding_scale", [.real(1), .real(0)]),
        ("expert_count", [.integer(0)]), ("expert_used_count", [.integer(0)]),
        ("use_parallel_residual", [.boolean(false)]), ("pooling_type", [.integer(0)]),
        ("tensor_data_layout", [.string("Meta AI original pth")]),
    ]

    private func take<Value>(
        _ key: String, else fallback: Value?, _ wanted: String, _ read: (GGUFValue) -> Value?
    ) throws -> Value {
        guard let value = value(key) else {
            guard let fallback else { throw LanguageModelError.missingSetting(file: path, key: whole(key)) }
            return fallback
        }
        guard let result = read(value) else {
            throw LanguageModelError.badSetting(file: path, key: whole(key), found: value.shown, wanted: wanted)
        }
        return result
    }
}
