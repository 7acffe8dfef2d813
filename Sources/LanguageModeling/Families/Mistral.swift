extension DecoderFamily {
    /// Mistral (arXiv:2310.06825): Llama, and in the first version a window on every layer.
    static let mistral = DecoderFamily(
        modelType: "mistral", architecture: "MistralForCausalLM",
        describe: { settings in
            // null is none; a file that says nothing has transformers' default.
            let window = settings.isThere("sliding_window") ? try settings.sizeOrNull("sliding_window") : 4096
            try settings.refuseOtherFunctions(but: ["sliding_window"])
            var description = try settings.llamaLike("mistral")
            for l in description.layers.indices { description.layers[l].window = window }
            return description
        },
        weights: .llama)
}
