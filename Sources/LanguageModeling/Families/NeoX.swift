import Kernels

extension DecoderFamily {
    /// GPT-NeoX (arXiv:2204.06745), as Pythia: both halves of a block read what enters it, layer norms with biases, rotary positions on
    /// the first quarter of a head, queries, keys and values of a head side by side in one weight.
    static let neoX = DecoderFamily(
        modelType: "gpt_neox", architecture: "GPTNeoXForCausalLM",
        describe: { settings in
            try settings.refuseOtherFunctions(but: ["attention_bias", "partial_rotary_factor"])
            let configuration = try settings.configuration("gpt_neox")
            var attention = try settings.attention(configuration)
            attention.hasInputBias = try settings.truth("attention_bias", else: true)
            attention.hasOutputBias = attention.hasInputBias
            return DecoderDescription(
                configuration: configuration,
                norm: NormDescription(kind: .layer, epsilon: try settings.number("layer_norm_eps")),
                isParallel: try settings.truth("use_parallel_residual", else: true), attention: attention,
                layers: [LayerDescription](repeating: .init(), count: configuration.layerCount),
                rotaries: [try settings.neoXRotary(attention.headDimension)],
                perceptron: PerceptronDescription(
                    width: try settings.size("intermediate_size"), activation: try settings.neoXActivation(),
                    isGated: false, hasBias: true),
                isHeadTied: try settings.truth("tie_word_embeddings", else: false))
        },
        weights: WeightTable(
            [
                .embedding: "gpt_neox.embed_in.weight", .finalNorm: "gpt_neox.final_layer_norm.weight",
                .finalNormBias: "gpt_neox.final_layer_norm.bias", .head: "embed_out.weight",
                .attentionNorm: "gpt_neox.layers.%.input_layernorm.weight",
                .attentionNormBias: "gpt_neox.layers.%.input_layernorm.bias",
                .query: StoredWeight("gpt_neox.layers.%.attention.query_key_value.weight", .ofHead(0, of: 3)),
                .key: StoredWeight("gpt_neox.layers.%.attention.query_key_value.weight", .ofHead(1, of: 3)),
                .value: StoredWeight("gpt_neox.layers.%.attention.query_key_value.weight", .ofHead(2, of: 3)),
                .queryBias: StoredWeight("gpt_neox.layers.%.attention.query_key_value.bias", .ofHead(0, of: 3)),
                .keyBias: StoredWeight("gpt_neox.layers.%.attention.query_key_value.bias", .ofHead(1, of: 3)),
                .valueBias: StoredWeight("gpt_neox.layers.%.attention.query_key_value.bias", .ofHead(2, of: 3)),
                .attentionOutput: "gpt_neox.layers.%.attention.dense.weight",
                .attentionOutputBias: "gpt_neox.layers.%.attention.dense.bias",
                .perceptronNorm: "gpt_neox.layers.%.post_attention_layernorm.weight",
                .perceptronNormBias: "gpt_neox.layers.%.post_attention_layernorm.bias",
                .up: "gpt_neox.layers.%.mlp.dense_h_to_4h.weight",
                .upBias: "gpt_neox.layers.%.mlp.dense_h_to_4h.bias",
                .down: "gpt_neox.layers.%.mlp.dense_4h_to_h.weight",
                .downBias: "gpt_neox.layers.%.mlp.dense_4h_to_h.bias",
            ],
            unreadSuffixes: [".attention.bias", ".attention.masked_bias"]))
}

extension ModelSettings {
    fileprivate func neoXActivation() throws -> Activation {
        switch member("hidden_act") {
        case nil, .string("gelu"): return .gelu
        case .string("gelu_new"), .string("gelu_pytorch_tanh"): return .geluTanh
        case let other?:
            throw LanguageModelError.unsupportedSetting(
                file: file, key: "hidden_act", found: other.shown, supported: "gelu, gelu_new, gelu_pytorch_tanh")
        }
    }

    /// `rotary_pct` and `rotary_emb_base`, which transformers 5 writes as `rope_parameters`.
    fileprivate func neoXRotary(_ headDimension: Int) throws -> RotaryDescription {
        var (share, theta) = (try number("rotary_pct", else: 0.25), try number("rotary_emb_base", else: 10_000))
        if let parameters = member("rope_parameters") {
            let inner = ModelSettings(file: file, root: parameters)
            func take(_ key: String, over old: String, _ value: inout Double) throws {
                let found = try inner.number(key)
                if member(old) != nil, found != value {
                    throw bad(old, .number(value), "\(found), as rope_parameters has it")
                }
                value = found
            }
            try take("partial_rotary_factor", over: "rotary_pct", &share)
            try take("rope_theta", over: "rotary_emb_base", &theta)
            try inner.refuse("rope_type", unless: .string("default"))
            try inner.refuseUnread(in: "rope_parameters.")
        }
        guard share > 0, share <= 1 else { throw bad("rotary_pct", .number(share), "above 0, at most 1") }
        // Rounded down, as transformers does.
        return RotaryDescription(dimension: Int(Double(headDimension) * share), theta: theta)
    }
}
