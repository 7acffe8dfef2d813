import TensorFiles

extension ModelConfiguration {
    /// Reads a Hugging Face config.json, of transformers 4 (`rope_theta`, `rope_scaling`) or 5 (`rope_parameters`).
    ///
    /// Settings that would change the numbers and are not implemented are refused, never ignored, and so is a setting that
    /// nobody here has heard of. Throws `LanguageModelError`, or `TensorFileError` for a file that is not JSON.
    public init(huggingFace path: String) throws {
        let settings = ModelSettings(file: path, root: try JSONValue(contentsOf: path))
        try settings.requireLlama()
        try settings.refuseOtherFunctions()

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
        beginningTokenId = try settings.id("bos_token_id")
        endTokenIds = try settings.ids("eos_token_id")
        paddingTokenId = try settings.id("pad_token_id")
        try settings.refuseOthers(than: ModelSettings.understood.union(ModelSettings.harmless))
        try validate(file: path)
    }
}

extension ModelSettings {
    fileprivate static let understood: Set = [
        "architectures", "model_type", "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
        "head_dim", "intermediate_size", "vocab_size", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings",
        "rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor", "bos_token_id", "eos_token_id",
        "pad_token_id", "hidden_act", "attention_bias", "mlp_bias", "rope_interleaved", "use_sliding_window",
        "is_encoder_decoder", "add_cross_attention", "is_llama_config", "quantization_config", "sliding_window",
        "auto_map",
        "cross_attention_hidden_size", "per_layer_config", "layer_types", "pruned_heads",
    ]

    /// What transformers 4 and 5 and the Hub write that no forward pass in single precision depends on: names and versions,
    /// training, generation, classification, how attention is computed and in which precision.
    fileprivate static let harmless: Set = [
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
        "suppress_tokens", "begin_suppress_tokens", "num_beam_groups", "diversity_penalty",
    ]

    /// Both names of the architecture must say Llama: transformers goes by `model_type`.
    fileprivate func requireLlama() throws {
        guard root.object != nil else { throw bad("the document", root, "an object") }
        let named = member("architectures")
        if let named, named != .array([.string("LlamaForCausalLM")]) {
            guard let list = named.array, let first = list.first?.string else {
                throw bad("architectures", named, "a list of texts")
            }
            throw LanguageModelError.unsupportedArchitecture(
                file: file, found: list.count == 1 ? first : list.map { $0.string ?? $0.shown }.joined(separator: ", "))
        }
        let type = member("model_type")
        guard type == .string("llama") || type == nil && named != nil else {
            throw LanguageModelError.unsupportedArchitecture(
                file: file, found: type.map { $0.string ?? $0.shown } ?? "none named")
        }
    }

    fileprivate func refuseOtherFunctions() throws {
        try refuse("hidden_act", unless: .string("silu"))
        for key in [
            "attention_bias", "mlp_bias", "rope_interleaved", "use_sliding_window", "is_encoder_decoder",
            "add_cross_attention",
        ] {
            try refuse(key, unless: .bool(false))
        }
        try refuse("is_llama_config", unless: .bool(true))
        for key in [
            "quantization_config", "sliding_window", "auto_map", "cross_attention_hidden_size", "per_layer_config",
        ] {
            try refuse(key, unless: .null)
        }
        try refusePartialRotary("")
        if let heads = member("pruned_heads"), heads.object?.isEmpty != true {
            throw LanguageModelError.unsupportedSetting(
                file: file, key: "pruned_heads", found: heads.shown, supported: "an empty object")
        }
        if let types = member("layer_types") {
            guard let list = types.array else { throw bad("layer_types", types, "a list of texts") }
            if let other = list.first(where: { $0 != .string("full_attention") }) {
                throw LanguageModelError.unsupportedSetting(
                    file: file, key: "layer_types", found: other.shown, supported: "\"full_attention\"")
            }
        }
    }

    // MARK: Rotary positions

    fileprivate func rotary() throws -> (theta: Double, scaling: RotaryScaling) {
        // 10000 is what transformers 4 assumes in a file that says nothing.
        let theta = member("rope_theta") == nil ? nil : try number("rope_theta")
        guard let parameters = member("rope_parameters") else {
            guard let scaling = member("rope_scaling") else { return (theta ?? 10_000, .none) }
            return (theta ?? 10_000, try ModelSettings(file: file, root: scaling).scaling("rope_scaling", []))
        }
        if let scaling = member("rope_scaling"), scaling != parameters {
            throw bad("rope_scaling", scaling, "nothing beside rope_parameters, or the same")
        }
        let inner = ModelSettings(file: file, root: parameters)
        let scaling = try inner.scaling("rope_parameters", ["rope_theta"])
        let found = try inner.number("rope_theta")
        if let theta, theta != found { throw bad("rope_theta", .number(theta), "\(found), as rope_parameters has it") }
        return (found, scaling)
    }

    private func scaling(_ key: String, _ others: Set<String>) throws -> RotaryScaling {
        guard root.object != nil else { throw bad(key, root, "an object") }
        try refusePartialRotary(key + ".")
        if let a = member("rope_type"), let b = member("type"), a != b {
            throw bad("\(key).type", b, "\(a.shown), as \(key).rope_type has it")
        }
        let known = others.union(["rope_type", "type", "partial_rotary_factor"])
        let type = member("rope_type") ?? member("type")
        switch type?.string {
        case "default":
            try refuseOthers(than: known, in: key + ".")
            return .none
        case "llama3":
            let numbers = ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
            try refuseOthers(than: known.union(numbers), in: key + ".")
            let values = try numbers.map { name in
                let value = try number(name)
                guard value > 0 else { throw bad("\(key).\(name)", .number(value), "a positive number") }
                return value
            }
            guard values[2] > values[1] else {
                throw bad("\(key).high_freq_factor", .number(values[2]), "more than low_freq_factor, \(values[1])")
            }
            return .llama3(
                factor: values[0], lowFrequencyFactor: values[1], highFrequencyFactor: values[2],
                originalContextLength: values[3])
        default:
            throw LanguageModelError.unsupportedSetting(
                file: file, key: "\(key).rope_type", found: type?.shown ?? "nothing", supported: "default, llama3")
        }
    }

    private func refusePartialRotary(_ place: String) throws {
        if let factor = member("partial_rotary_factor"), factor.double != 1 {
            throw LanguageModelError.unsupportedSetting(
                file: file, key: place + "partial_rotary_factor", found: factor.shown, supported: "1")
        }
    }
}
