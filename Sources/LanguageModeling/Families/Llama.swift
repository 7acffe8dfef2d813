extension DecoderFamily {
    /// Llama (arXiv:2302.13971) and what took its form: norms by root mean square before each half, rotary positions,
    /// grouped-query attention, SwiGLU.
    static let llama = DecoderFamily(
        modelType: "llama", architecture: "LlamaForCausalLM",
        describe: { settings in
            try settings.refuseOtherFunctions()
            return try settings.llamaLike("llama")
        },
        weights: .llama,
        gguf: GGUFForm(
            name: "llama",
            describe: { settings in
                var description = try settings.llamaLike()
                description.rotaries[0].divisors = try settings.rotaryDivisors(
                    dimension: description.attention.headDimension)
                return description
            },
            weights: .gguf(queriesAndKeys: .pairs, described: [GGUFSettings.rotaryDivisorsName])))
}

extension ModelSettings {
    /// A decoder of Llama's form; what differs is set by the caller.
    func llamaLike(_ family: String, activation: String = "hidden_act") throws -> DecoderDescription {
        let configuration = try configuration(family)
        let attention = try attention(configuration)
        if activation == "hidden_act" { try refuse("hidden_act", unless: .string("silu")) }
        let (theta, scaling) = try rotary()
        return DecoderDescription(
            configuration: configuration, norm: NormDescription(epsilon: try number("rms_norm_eps")),
            attention: attention, layers: [LayerDescription](repeating: .init(), count: configuration.layerCount),
            rotaries: [RotaryDescription(dimension: attention.headDimension, theta: theta, scaling: scaling)],
            perceptron: PerceptronDescription(width: try size("intermediate_size"), activation: .silu),
            isHeadTied: try truth("tie_word_embeddings", else: false))
    }
}

extension GGUFSettings {
    /// A decoder of Llama's form; what differs is set by the caller.
    func llamaLike() throws -> DecoderDescription {
        let configuration = try configuration()
        let attention = try attention(configuration)
        return DecoderDescription(
            configuration: configuration,
            norm: NormDescription(epsilon: try number("attention.layer_norm_rms_epsilon")), attention: attention,
            layers: [LayerDescription](repeating: .init(), count: configuration.layerCount),
            rotaries: [
                RotaryDescription(
                    dimension: attention.headDimension, theta: try number("rope.freq_base", else: 10_000),
                    scaling: try ropeScaling())
            ],
            perceptron: PerceptronDescription(width: try integer("feed_forward_length"), activation: .silu),
            isHeadTied: isHeadTied)
    }
}

extension WeightTable {
    /// The names that transformers gives to a decoder of Llama's form.
    static let llama = WeightTable([
        .embedding: "model.embed_tokens.weight", .finalNorm: "model.norm.weight", .head: "lm_head.weight",
        .attentionNorm: "model.layers.%.input_layernorm.weight", .query: "model.layers.%.self_attn.q_proj.weight",
        .key: "model.layers.%.self_attn.k_proj.weight", .value: "model.layers.%.self_attn.v_proj.weight",
        .attentionOutput: "model.layers.%.self_attn.o_proj.weight",
        .perceptronNorm: "model.layers.%.post_attention_layernorm.weight",
        .gate: "model.layers.%.mlp.gate_proj.weight", .up: "model.layers.%.mlp.up_proj.weight",
        .down: "model.layers.%.mlp.down_proj.weight",
    ])

    /// The names of llama.cpp. Of Llama itself the rows of query and key heads are stored as pairs.
    static func gguf(queriesAndKeys layout: StoredLayout = .plain, described: Set<String> = []) -> WeightTable {
        var table = WeightTable(
            [
                .embedding: "token_embd.weight", .finalNorm: "output_norm.weight", .head: "output.weight",
                .attentionNorm: "blk.%.attn_norm.weight", .value: "blk.%.attn_v.weight",
                .attentionOutput: "blk.%.attn_output.weight", .perceptronNorm: "blk.%.ffn_norm.weight",
                .gate: "blk.%.ffn_gate.weight", .up: "blk.%.ffn_up.weight", .down: "blk.%.ffn_down.weight",
                .queryNorm: "blk.%.attn_q_norm.weight", .keyNorm: "blk.%.attn_k_norm.weight",
                .attentionPostNorm: "blk.%.post_attention_norm.weight",
                .perceptronPostNorm: "blk.%.post_ffw_norm.weight",
            ], described: described)
        table[.query] = StoredWeight("blk.%.attn_q.weight", layout)
        table[.key] = StoredWeight("blk.%.attn_k.weight", layout)
        return table
    }
}
