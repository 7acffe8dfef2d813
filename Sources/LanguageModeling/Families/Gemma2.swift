import Kernels

extension DecoderFamily {
    /// Gemma 2 (arXiv:2408.00118): norms before and after each half, with weights stored less 1; GeGLU; embeddings times √d; soft
    /// caps on scores and logits; every other layer sees a window.
    static let gemma2 = DecoderFamily(
        modelType: "gemma2", architecture: "Gemma2ForCausalLM",
        describe: { settings in
            try settings.refuseOtherFunctions(but: ["sliding_window", "layer_types"])
            var description = try settings.gemmaLike("gemma2")
            description.attention.softCap = try settings.numberOrNull("attn_logit_softcapping").map(Float.init)
            let window = try settings.size("sliding_window")
            let isLocal = try settings.localLayers(description.layers.count) { $0 % 2 == 0 }
            for l in description.layers.indices where isLocal[l] { description.layers[l].window = window }
            return description
        },
        weights: .gemma)
}

extension ModelSettings {
    /// What Gemma 2 and 3 have in common.
    func gemmaLike(_ family: String) throws -> DecoderDescription {
        try refuse("use_bidirectional_attention", unless: .bool(false))
        for key in ["hidden_activation", "hidden_act"] { try refuse(key, unless: .string("gelu_pytorch_tanh")) }
        var description = try llamaLike(family, activation: "hidden_activation")
        description.perceptron.activation = .geluTanh
        description.norm.isStoredLessOne = true
        description.hasPostNorms = true
        description.embeddingScale = Float(description.configuration.dModel).squareRoot()
        description.attention.scale = 1 / Float(try number("query_pre_attn_scalar")).squareRoot()
        description.finalSoftCap = try numberOrNull("final_logit_softcapping").map(Float.init)
        // transformers ties them in a file that says nothing.
        description.isHeadTied = try truth("tie_word_embeddings", else: true)
        return description
    }
}

extension WeightTable {
    /// Llama's names, and those of the norms after each half. The one that Llama calls `post_attention_layernorm` is not that.
    static let gemma: WeightTable = {
        var table = llama
        table[.attentionPostNorm] = "model.layers.%.post_attention_layernorm.weight"
        table[.perceptronNorm] = "model.layers.%.pre_feedforward_layernorm.weight"
        table[.perceptronPostNorm] = "model.layers.%.post_feedforward_layernorm.weight"
        table[.queryNorm] = "model.layers.%.self_attn.q_norm.weight"
        table[.keyNorm] = "model.layers.%.self_attn.k_norm.weight"
        return table
    }()
}
