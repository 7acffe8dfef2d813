extension DecoderFamily {
    /// Qwen 3 (arXiv:2505.09388): Llama with norms of query and key heads.
    static let qwen3 = DecoderFamily(
        modelType: "qwen3", architecture: "Qwen3ForCausalLM",
        describe: { settings in
            // A window that is not used.
            _ = try settings.sizeOrNull("sliding_window")
            try settings.refuseOtherFunctions(but: ["sliding_window"])
            var description = try settings.llamaLike("qwen3")
            description.attention.hasHeadNorms = true
            return description
        },
        weights: .qwen)
}
