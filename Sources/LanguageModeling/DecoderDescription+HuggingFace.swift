import TensorFiles

extension DecoderDescription {
    /// Reads a Hugging Face config.json, of transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`).
    ///
    /// Settings that would change the numbers and are not implemented are refused, never ignored, and so is a setting that
    /// nobody here has heard of. Throws `LanguageModelError`, or `TensorFileError` for a file that is not JSON.
    package init(huggingFace path: String) throws {
        self = try ModelSettings(file: path, root: try JSONValue(contentsOf: path)).description().description
    }
}

extension ModelSettings {
    /// The family that the file names, and what it makes of the file.
    func description() throws -> (description: DecoderDescription, family: DecoderFamily) {
        let family = try family()
        let description = try family.describe(self)
        try refuseUnread(but: Self.harmless)
        try description.validate(file: file)
        return (description, family)
    }

    /// What transformers 4 and 5 and the Hub write that no forward pass in single precision depends on: names and versions,
    /// training, generation, classification, how attention is computed and in which precision.
    private static let harmless: Set = [
        "_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "transformers.js_config", "dtype",
        "torch_dtype", "_attn_implementation", "attn_implementation", "_attn_implementation_autoset",
        "_flash_attn_2_enabled",
        "use_cache", "pretraining_tp", "max_sequence_length", "max_window_layers", "chunk_size_feed_forward",
        "is_decoder",
        "use_bfloat16", "tf_legacy_loss", "torchscript", "tie_encoder_decoder", "return_dict", "output_attentions",
        "output_hidden_states", "tie_last_hidden_states", "base_model_tp_plan", "base_model_pp_plan",
        "initializer_range",
        "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "classifier_dropout",
        "gradient_checkpointing", "unsloth_fixed", "unsloth_version", "id2label", "label2id", "num_labels",
        "problem_type",
        "finetuning_task", "task_specific_params", "tokenizer_class", "prefix", "sep_token_id", "unk_token_id",
        "decoder_start_token_id", "max_length", "max_new_tokens", "min_length", "do_sample", "early_stopping",
        "num_beams",
        "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
        "return_dict_in_generate",
        "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty",
        "suppress_tokens", "begin_suppress_tokens", "num_beam_groups", "diversity_penalty", "cache_implementation",
        "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
    ]

    /// Both names of the architecture must be a family's: transformers goes by `model_type`.
    private func family() throws -> DecoderFamily {
        guard root.object != nil else { throw bad("the document", root, "an object") }
        let named = member("architectures")
        var found: String?
        if let named {
            guard let list = named.array, let first = list.first?.string else {
                throw bad("architectures", named, "a list of texts")
            }
            found = list.count == 1 ? first : list.map { $0.string ?? $0.shown }.joined(separator: ", ")
        }
        let type = member("model_type")
        let family = DecoderFamily.all.first {
            if let found, found != $0.architecture { return false }
            return type == .string($0.modelType) || type == nil && found != nil
        }
        guard let family else {
            // The one of the two that is no family's.
            let known = DecoderFamily.all.contains { $0.architecture == found }
            throw LanguageModelError.unsupportedArchitecture(
                file: file,
                found: (known || found == nil ? type.map { $0.string ?? $0.shown } : found) ?? "none named")
        }
        return family
    }

    /// Sizes by the names of most families.
    func configuration(_ family: String) throws -> ModelConfiguration {
        var configuration = ModelConfiguration(
            family: family, layerCount: try size("num_hidden_layers"), dModel: try size("hidden_size"),
            vocabularySize: try size("vocab_size"), contextLength: try size("max_position_embeddings"))
        try specialTokens(into: &configuration)
        // Lists are made of it before it is checked with the rest.
        guard (1...1 << 20).contains(configuration.layerCount) else {
            throw LanguageModelError.badSetting(
                file: file, key: "number of layers", found: "\(configuration.layerCount)", wanted: "1 to \(1 << 20)")
        }
        return configuration
    }

    func specialTokens(into configuration: inout ModelConfiguration) throws {
        configuration.beginningTokenId = try id("bos_token_id")
        configuration.endTokenIds = try ids("eos_token_id")
        configuration.paddingTokenId = try id("pad_token_id")
    }

    /// Heads by the names of most families.
    func attention(_ configuration: ModelConfiguration) throws -> AttentionDescription {
        let heads = try size("num_attention_heads")
        return AttentionDescription(
            headCount: heads, keyValueHeadCount: try size("num_key_value_heads", else: heads),
            // A zero is left for `validate` to name.
            headDimension: try size("head_dim", else: heads > 0 ? configuration.dModel / heads : 0))
    }

    /// Which layers see a window: as `layer_types` says, or else by the family's rule.
    func localLayers(_ count: Int, by rule: (Int) -> Bool) throws -> [Bool] {
        guard let types = member("layer_types") else { return (0..<count).map(rule) }
        guard let list = types.array, list.count == count else {
            throw bad("layer_types", types, "a list of \(count) texts")
        }
        return try list.map { type in
            switch type.string {
            case "sliding_attention": return true
            case "full_attention": return false
            default:
                throw LanguageModelError.unsupportedSetting(
                    file: file, key: "layer_types", found: type.shown,
                    supported: "\"sliding_attention\", \"full_attention\"")
            }
        }
    }

    /// Refuses settings of any family that would make another function, unless `read` by the family itself.
    func refuseOtherFunctions(but read: Set<String> = []) throws {
        for key in [
            "attention_bias", "mlp_bias", "rope_interleaved", "use_sliding_window", "is_encoder_decoder",
            "add_cross_attention",
        ] where !read.contains(key) {
            try refuse(key, unless: .bool(false))
        }
        try refuse("is_llama_config", unless: .bool(true))
        for key in [
            "quantization_config", "sliding_window", "auto_map", "cross_attention_hidden_size", "per_layer_config",
        ] where !read.contains(key) {
            try refuse(key, unless: .null)
        }
        if !read.contains("partial_rotary_factor") { try refusePartialRotary("") }
        if let heads = member("pruned_heads"), heads.object?.isEmpty != true {
            throw LanguageModelError.unsupportedSetting(
                file: file, key: "pruned_heads", found: heads.shown, supported: "an empty object")
        }
        if !read.contains("layer_types"), let types = member("layer_types") {
            guard let list = types.array else { throw bad("layer_types", types, "a list of texts") }
            if let other = list.first(where: { $0 != .string("full_attention") }) {
                throw LanguageModelError.unsupportedSetting(
                    file: file, key: "layer_types", found: other.shown, supported: "\"full_attention\"")
            }
        }
    }

    // MARK: Rotary positions

    /// θ and scaling of the (global) rotary embedding.
    func rotary() throws -> (theta: Double, scaling: RotaryScaling) {
        // 10000 is what transformers 4 assumes in a file that says nothing.
        let theta = member("rope_theta") == nil ? nil : try number("rope_theta")
        guard let parameters = member("rope_parameters") else {
            guard let scaling = member("rope_scaling") else { return (theta ?? 10_000, .none) }
            return (theta ?? 10_000, try ModelSettings(file: file, root: scaling).scaling("rope_scaling", []))
        }
        if let scaling = member("rope_scaling"), scaling != parameters {
            throw bad("rope_scaling", scaling, "nothing beside rope_parameters, or the same")
        }
        // Gemma 3 has one for layers with a window and one for those without.
        let kinds: Set = ["full_attention", "sliding_attention"]
        let isByKind = parameters["full_attention"] != nil
        if isByKind, let other = parameters.object?.keys.sorted().first(where: { !kinds.contains($0) }) {
            throw LanguageModelError.unknownSetting(
                file: file, key: "rope_parameters.\(other)", found: parameters[other]?.shown ?? "")
        }
        let inner = ModelSettings(file: file, root: isByKind ? parameters["full_attention"]! : parameters)
        let scaling = try inner.scaling("rope_parameters", ["rope_theta"])
        let found = try inner.number("rope_theta")
        if let theta, theta != found { throw bad("rope_theta", .number(theta), "\(found), as rope_parameters has it") }
        return (found, scaling)
    }

    /// What `rope_scaling` or `rope_parameters` says beside `others`.
    func scaling(_ key: String, _ others: Set<String>) throws -> RotaryScaling {
        guard root.object != nil else { throw bad(key, root, "an object") }
        try refusePartialRotary(key + ".")
        if let a = member("rope_type"), let b = member("type"), a != b {
            throw bad("\(key).type", b, "\(a.shown), as \(key).rope_type has it")
        }
        for other in others { _ = member(other) }
        let type = member("rope_type") ?? member("type")
        switch type?.string {
        case "default":
            try refuseUnread(in: key + ".")
            return .none
        case "linear":
            let factor = try number("factor")
            guard factor > 0 else { throw bad("\(key).factor", .number(factor), "a positive number") }
            try refuseUnread(in: key + ".")
            return .linear(factor: factor)
        case "llama3":
            let numbers = ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
            let values = try numbers.map { name in
                let value = try number(name)
                guard value > 0 else { throw bad("\(key).\(name)", .number(value), "a positive number") }
                return value
            }
            try refuseUnread(in: key + ".")
            guard values[2] > values[1] else {
                throw bad("\(key).high_freq_factor", .number(values[2]), "more than low_freq_factor, \(values[1])")
            }
            return .llama3(
                factor: values[0], lowFrequencyFactor: values[1], highFrequencyFactor: values[2],
                originalContextLength: values[3])
        default:
            throw LanguageModelError.unsupportedSetting(
                file: file, key: "\(key).rope_type", found: type?.shown ?? "nothing",
                supported: "default, linear, llama3")
        }
    }

    private func refusePartialRotary(_ place: String) throws {
        if let factor = member("partial_rotary_factor"), factor.double != 1 {
            throw LanguageModelError.unsupportedSetting(
                file: file, key: place + "partial_rotary_factor", found: factor.shown, supported: "1")
        }
    }
}
