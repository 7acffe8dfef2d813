extension DecoderFamily {
    /// Gemma 3 (arXiv:2503.19786): Gemma 2 with norms of query and key heads in place of the cap on scores. Five of six layers see a
    /// window and turn by a smaller base.
    static let gemma3 = DecoderFamily(
        modelType: "gemma3_text", architecture: "Gemma3ForCausalLM",
        describe: { settings in
            try settings.refuseOtherFunctions(but: ["sliding_window", "layer_types"])
            var description = try settings.gemmaLike("gemma3")
            description.attention.softCap = try settings.numberOrNull("attn_logit_softcapping").map(Float.init)
            let pattern = try settings.slidingPattern()
            let isLocal = try settings.localLayers(description.layers.count) { ($0 + 1) % pattern != 0 }
            description.haveLocalLayers(isLocal, window: try settings.size("sliding_window"))
            description.rotaries.append(try settings.localRotary(description.attention.headDimension))
            return description
        },
        weights: .gemma,
        gguf: GGUFForm(
            name: "gemma3",
            describe: { settings in
                var description = try settings.llamaLike()
                description.perceptron.activation = .geluTanh
                description.hasPostNorms = true
                description.embeddingScale = Float(description.configuration.dModel).squareRoot()
                // llama.cpp adds 1 to norm weights when it converts, and knows the rest by the family's name and the number of
                // layers: the 27B, which has 62, scales scores by the root of d / H and not of a head's width.
                if description.layers.count == 62 {
                    let width = description.configuration.dModel / max(1, description.attention.headCount)
                    description.attention.scale = 1 / Float(width).squareRoot()
                }
                let local = (0..<description.layers.count).map { ($0 + 1) % 6 != 0 }
                description.haveLocalLayers(local, window: try settings.integer("attention.sliding_window"))
                description.rotaries.append(
                    RotaryDescription(dimension: description.attention.headDimension, theta: 10_000))
                return description
            },
            weights: .gguf()))
}

extension DecoderDescription {
    /// Norms of heads, and windows and the second rotary embedding where a layer is local.
    fileprivate mutating func haveLocalLayers(_ isLocal: [Bool], window: Int) {
        attention.hasHeadNorms = true
        layers = isLocal.map { LayerDescription(rotary: $0 ? 1 : 0, window: $0 ? window : nil) }
    }
}

extension ModelSettings {
    /// How many layers there are for one that sees everything: `sliding_window_pattern`, by transformers 5 with an underscore.
    fileprivate func slidingPattern() throws -> Int {
        let (old, new) = (try sizeOrNull("sliding_window_pattern"), try sizeOrNull("_sliding_window_pattern"))
        guard let pattern = old ?? new else { return 6 }
        guard pattern >= 1, new == nil || new == pattern else {
            throw bad(
                "sliding_window_pattern", .number(Double(pattern)), "a positive number, the same in both spellings")
        }
        return pattern
    }

    /// The rotary embedding of layers with a window.
    fileprivate func localRotary(_ dimension: Int) throws -> RotaryDescription {
        if let local = member("rope_parameters")?["sliding_attention"] {
            let inner = ModelSettings(file: file, root: local)
            let scaling = try inner.scaling("rope_parameters.sliding_attention", ["rope_theta"])
            return RotaryDescription(dimension: dimension, theta: try inner.number("rope_theta"), scaling: scaling)
        }
        return RotaryDescription(dimension: dimension, theta: try number("rope_local_base_freq"))
    }
}
