import Kernels

extension DecoderFamily {
    /// GPT-2: layer norms with biases, learned positions, a perceptron without a gate; weights stored as [in, out], queries, keys and
    /// values in one.
    static let gpt2 = DecoderFamily(
        modelType: "gpt2", architecture: "GPT2LMHeadModel",
        describe: { settings in
            try settings.refuseOtherFunctions()
            try settings.refuse("activation_function", unless: .string("gelu_new"))
            try settings.refuse("scale_attn_weights", unless: .bool(true))
            try settings.refuse("scale_attn_by_inverse_layer_idx", unless: .bool(false))
            try settings.refuse("reorder_and_upcast_attn", unless: .bool(false))
            let context = try settings.size("n_positions")
            _ = try settings.sizeOrNull("n_ctx")
            var configuration = ModelConfiguration(
                family: "gpt2", layerCount: try settings.size("n_layer"), dModel: try settings.size("n_embd"),
                vocabularySize: try settings.size("vocab_size"), contextLength: context)
            try settings.specialTokens(into: &configuration)
            let (d, heads) = (configuration.dModel, try settings.size("n_head"))
            return DecoderDescription(
                configuration: configuration,
                norm: NormDescription(kind: .layer, epsilon: try settings.number("layer_norm_epsilon")),
                attention: AttentionDescription(
                    headCount: heads, keyValueHeadCount: heads, headDimension: heads > 0 ? d / heads : 0,
                    hasInputBias: true, hasOutputBias: true),
                layers: [LayerDescription](repeating: .init(rotary: nil), count: max(0, configuration.layerCount)),
                rotaries: [],
                perceptron: PerceptronDescription(
                    width: try settings.sizeOrNull("n_inner") ?? 4 * d, activation: .geluTanh, isGated: false,
                    hasBias: true),
                hasLearnedPositions: true, isHeadTied: try settings.truth("tie_word_embeddings", else: true))
        },
        weights: WeightTable(
            [
                .embedding: "wte.weight", .positions: "wpe.weight", .finalNorm: "ln_f.weight",
                .finalNormBias: "ln_f.bias", .attentionNorm: "h.%.ln_1.weight", .attentionNormBias: "h.%.ln_1.bias",
                .query: StoredWeight("h.%.attn.c_attn.weight", .column(0, of: 3)),
                .key: StoredWeight("h.%.attn.c_attn.weight", .column(1, of: 3)),
                .value: StoredWeight("h.%.attn.c_attn.weight", .column(2, of: 3)),
                .queryBias: StoredWeight("h.%.attn.c_attn.bias", .column(0, of: 3)),
                .keyBias: StoredWeight("h.%.attn.c_attn.bias", .column(1, of: 3)),
                .valueBias: StoredWeight("h.%.attn.c_attn.bias", .column(2, of: 3)),
                .attentionOutput: StoredWeight("h.%.attn.c_proj.weight", .column(0, of: 1)),
                .attentionOutputBias: "h.%.attn.c_proj.bias", .perceptronNorm: "h.%.ln_2.weight",
                .perceptronNormBias: "h.%.ln_2.bias", .up: StoredWeight("h.%.mlp.c_fc.weight", .column(0, of: 1)),
                .upBias: "h.%.mlp.c_fc.bias", .down: StoredWeight("h.%.mlp.c_proj.weight", .column(0, of: 1)),
                .downBias: "h.%.mlp.c_proj.bias", .head: "lm_head.weight",
            ],
            // The Hub's own files leave it out.
            optionalPrefix: "transformer.",
            // Causal masks, which early versions of transformers kept with the weights.
            unreadSuffixes: [".attn.bias", ".attn.masked_bias"]))
}
