extension DecoderFamily {
    /// Qwen 2 and 2.5 (arXiv:2407.10671): Llama with biases on queries, keys and values.
    static let qwen2 = DecoderFamily(
        modelType: "qwen2", architecture: "Qwen2ForCausalLM",
        describe: { settings in
            // A window that is not used.
            _ = try settings.sizeOrNull("sliding_window")
            try settings.refuseOtherFunctions(but: ["sliding_window"])
            var description = try settings.llamaLike("qwen2")
            description.attention.hasInputBias = true
            return description
        },
        weights: .qwen)
}

extension WeightTable {
    /// Llama's names, biases of Qwen 2 and head norms of Qwen 3.
    static let qwen: WeightTable = {
        var table = llama
        table[.queryBias] = "model.layers.%.self_attn.q_proj.bias"
        table[.keyBias] = "model.layers.%.self_attn.k_proj.bias"
        table[.valueBias] = "model.layers.%.self_attn.v_proj.bias"
        table[.queryNorm] = "model.layers.%.self_attn.q_norm.weight"
        table[.keyNorm] = "model.layers.%.self_attn.k_norm.weight"
        return table
    }()
}
