import TensorFiles

extension ModelConfiguration {
    /// Reads a Hugging Face config.json, of transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`).
    ///
    /// Settings that would change the numbers and are not implemented are refused, never ignored. Throws
    /// `LanguageModelError`, or `TensorFileError` for a file that is not JSON.
    public init(huggingFace path: String) throws {
        let settings = Settings(file: path, root: try JSONValue(contentsOf: path))
        let named = settings.root["architectures"]?.array?.first?.string ?? settings.root["model_type"]?.string
        guard named == "LlamaForCausalLM" || named == "llama" else {
            throw LanguageModelError.unsupportedArchitecture(file: path, found: named ?? "none named")
        }
        try settings.refuse("hidden_act", unless: .string("silu"))
        for key in ["attention_bias", "mlp_bias", "rope_interleaved"] { try settings.refuse(key, unless: .bool(false)) }
        for key in ["quantization_config", "sliding_window"] { try settings.refuse(key, unless: .null) }

        architecture = .llama
        layerCount = try settings.size("num_hidden_layers")
        dModel = try settings.size("hidden_size")
        headCount = try settings.size("num_attention_heads")
        keyValueHeadCount = try settings.size("num_key_value_heads", else: headCount)
        // A zero is left for `validate` to name.
        headDimension = try settings.size("head_dim", else: headCount > 0 ? dModel / headCount : 0)
        intermediateSize = try settings.size("intermediate_size")
        vocabularySize = try settings.size("vocab_size")
        contextLength = try settings.size("max_position_embeddings")
        rmsNormEpsilon = try settings.number("rms_norm_eps")
        isHeadTied = try settings.truth("tie_word_embeddings", else: false)
        (ropeTheta, ropeScaling) = try settings.rotary()
        // Negative ids stand for "none" in older files.
        beginningTokenId = try settings.ids("bos_token_id").first
        endTokenIds = try settings.ids("eos_token_id")
        paddingTokenId = try settings.ids("pad_token_id").first
        try validate(file: path)
    }
}

/// Members of a config.json by the kind they must have. A member that is null counts as absent, as transformers
/// writes it.
private struct Settings {
    let file: String
    let root: JSONValue

    private func member(_ key: String) -> JSONValue? {
        guard let value = root[key], value != .null else { return nil }
        return value
    }

    func refuse(_ key: String, unless supported: JSONValue) throws {
        if let value = member(key), value != supported {
            throw LanguageModelError.unsupportedSetting(
                file: file, key: key, found: text(value), supported: text(supported))
        }
    }

    func size(_ key: String, else fallback: Int? = nil) throws -> Int {
        guard let value = member(key) else { return try fallback ?? missing(key) }
        guard let size = value.integer else { throw bad(key, value, "a whole number") }
        return size
    }

    func number(_ key: String) throws -> Double {
        guard let value = member(key) else { return try missing(key) }
        guard let number = value.double else { throw bad(key, value, "a number") }
        return number
    }

    func truth(_ key: String, else fallback: Bool) throws -> Bool {
        guard let value = member(key) else { return fallback }
        guard let truth = value.bool else { throw bad(key, value, "true or false") }
        return truth
    }

    func ids(_ key: String) throws -> [Int] {
        guard let value = member(key) else { return [] }
        let listed = value.array ?? [value]
        let ids = listed.compactMap(\.integer)
        guard ids.count == listed.count else { throw bad(key, value, "token ids") }
        return ids.filter { $0 >= 0 }
    }

    func rotary() throws -> (theta: Double, scaling: RotaryScaling) {
        if let parameters = member("rope_parameters") {
            let inner = Settings(file: file, root: parameters)
            return (try inner.number("rope_theta"), try inner.scaling("rope_parameters"))
        }
        // 10000 is what transformers 4 assumes in a file that says nothing.
        let theta = member("rope_theta") == nil ? 10_000 : try number("rope_theta")
        guard let scaling = member("rope_scaling") else { return (theta, .none) }
        return (theta, try Settings(file: file, root: scaling).scaling("rope_scaling"))
    }

    private func scaling(_ key: String) throws -> RotaryScaling {
        guard root.object != nil else { throw bad(key, root, "an object") }
        if let factor = member("partial_rotary_factor"), factor.double != 1 {
            throw LanguageModelError.unsupportedSetting(
                file: file, key: "\(key).partial_rotary_factor", found: text(factor), supported: "1")
        }
        let type = member("rope_type") ?? member("type")
        switch type?.string {
        case "default": return .none
        case "llama3":
            return .llama3(
                factor: try number("factor"), lowFrequencyFactor: try number("low_freq_factor"),
                highFrequencyFactor: try number("high_freq_factor"),
                originalContextLength: try number("original_max_position_embeddings"))
        default:
            throw LanguageModelError.unsupportedSetting(
                file: file, key: "\(key).rope_type", found: type.map(text) ?? "nothing", supported: "default, llama3")
        }
    }

    private func missing<Value>(_ key: String) throws -> Value {
        throw LanguageModelError.missingSetting(file: file, key: key)
    }

    private func bad(_ key: String, _ value: JSONValue, _ wanted: String) -> LanguageModelError {
        .badSetting(file: file, key: key, found: text(value), wanted: wanted)
    }

    private func text(_ value: JSONValue) -> String {
        switch value {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): "\"\(value)\""
        case .array: "a list"
        case .object: "an object"
        }
    }
}
