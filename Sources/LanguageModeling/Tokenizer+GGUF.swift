import TensorFiles

extension Tokenizer {
    /// The tokenizer that a GGUF file carries in `tokenizer.ggml.*`.
    ///
    /// Throws `TextError`.
    public static func load(gguf file: GGUFFile) throws -> Tokenizer {
        func unsupported(_ found: String, _ supported: String) -> TextError {
            .unsupportedTokenizer(file: file.path, found: found, supported: supported)
        }
        func missing(_ key: String, _ kind: String) -> TextError {
            .malformedTokenizer(file: file.path, what: "tokenizer.ggml.\(key) is missing or not \(kind)")
        }
        let metadata = file.metadata
        guard let model = metadata["tokenizer.ggml.model"]?.string else { throw missing("model", "a text") }
        guard model == "gpt2" else { throw unsupported("the model \"\(model)\"", "gpt2") }
        let name = metadata["tokenizer.ggml.pre"]?.string ?? "default"
        let patterns: [String: WordPattern] = ["smollm": .singleDigits, "gpt-2": .gpt2, "default": .gpt2]
        guard let pattern = patterns[name] else {
            throw unsupported("the pre-tokenizer \"\(name)\"", patterns.keys.sorted().joined(separator: ", "))
        }
        guard let tokens = metadata["tokenizer.ggml.tokens"]?.strings else {
            throw missing("tokens", "a list of texts")
        }
        guard let merges = metadata["tokenizer.ggml.merges"]?.strings else {
            throw missing("merges", "a list of texts")
        }
        let types =
            metadata["tokenizer.ggml.token_type"]?.integers ?? Array(repeating: TokenType.normal, count: tokens.count)
        guard types.count == tokens.count else {
            throw TextError.malformedTokenizer(
                file: file.path, what: "tokenizer.ggml.token_type has \(types.count) entries for \(tokens.count) tokens"
            )
        }
        var builder = TokenizerBuilder(path: file.path, count: tokens.count)
        for (id, (token, type)) in zip(tokens, types).enumerated() {
            try builder.insert(token, id)
            if type == TokenType.control || type == TokenType.userDefined {
                try builder.add(token, id, isSpecial: type == TokenType.control)
            }
        }
        for merge in merges { try builder.merge(merge) }
        return try builder.build(
            pattern: pattern, endOfSequence: metadata["tokenizer.ggml.eos_token_id"]?.integer)
    }
}

/// llama.cpp's numbers in `tokenizer.ggml.token_type`.
private enum TokenType {
    static let normal = 1
    static let control = 3
    static let userDefined = 4
}
