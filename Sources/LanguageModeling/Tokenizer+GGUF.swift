import TensorFiles

extension Tokenizer {
    /// The tokenizer that a GGUF file carries in `tokenizer.ggml.*`.
    ///
    /// Throws `TextError` for a tokenizer that is not one of ours, also by a key that is not known here, and
    /// `LanguageModelError` for a special token's id that is none.
    public static func load(gguf file: GGUFFile) throws -> Tokenizer {
        func unsupported(_ found: String, _ supported: String) -> TextError {
            .unsupportedTokenizer(file: file.path, found: found, supported: supported)
        }
        func malformed(_ what: String) -> TextError { .malformedTokenizer(file: file.path, what: what) }
        let metadata = file.metadata
        try GGUFSettings(file).requireWholeModel()
        func required<Value>(_ key: String, _ kind: String, _ read: (GGUFValue) -> Value?) throws -> Value {
            guard let value = metadata["tokenizer.ggml.\(key)"].flatMap(read) else {
                throw malformed("tokenizer.ggml.\(key) is missing or not \(kind)")
            }
            return value
        }
        let model = try required("model", "a text", \.string)
        guard ["gpt2", "llama"].contains(model) else { throw unsupported("the model \"\(model)\"", "gpt2, llama") }
        for key in ["add_space_prefix", "remove_extra_whitespaces"] {
            // llama.cpp puts a space before a text unless told otherwise, where the vocabulary is of pieces.
            let absent: GGUFValue? = model == "llama" && key == "add_space_prefix" ? .boolean(true) : nil
            if let value = metadata["tokenizer.ggml.\(key)"] ?? absent, value != .boolean(false) {
                throw unsupported("tokenizer.ggml.\(key) = \(value.shown)", "false")
            }
        }
        for key in metadata.keys.sorted() where key.hasPrefix("tokenizer.") && !isKnown(key) {
            throw unsupported("the key \(key)", "the keys of llama.cpp for such vocabularies")
        }
        let tokens = try required("tokens", "a list of texts", \.strings)
        var types = Array(repeating: TokenType.normal, count: tokens.count)
        if metadata["tokenizer.ggml.token_type"] != nil {
            types = try required("token_type", "a list of whole numbers", \.integers)
        }
        guard types.count == tokens.count else {
            throw malformed("tokenizer.ggml.token_type has \(types.count) entries for \(tokens.count) tokens")
        }
        if let other = types.first(where: { !TokenType.all.contains($0) }) {
            throw malformed("tokenizer.ggml.token_type holds \(other), and types are 1 to 6")
        }
        if model == "llama" {
            let scores = try required("scores", "a list of numbers") {
                if case .reals(let list) = $0 { list } else { nil }
            }
            guard scores.count == tokens.count else {
                throw malformed("tokenizer.ggml.scores has \(scores.count) entries for \(tokens.count) tokens")
            }
            return try pieces(tokens, types, scores, path: file.path, GGUFSettings(file))
        }
        let name = metadata["tokenizer.ggml.pre"] == nil ? "default" : try required("pre", "a text", \.string)
        let patterns: [String: WordPattern] = ["smollm": .singleDigits, "gpt-2": .gpt2, "default": .gpt2]
        guard let pattern = patterns[name] else {
            throw unsupported("the pre-tokenizer \"\(name)\"", patterns.keys.sorted().joined(separator: ", "))
        }
        let merges = try required("merges", "a list of texts", \.strings)
        var builder = TokenizerBuilder(path: file.path, count: tokens.count)
        for (id, (token, type)) in zip(tokens, types).enumerated() {
            try builder.insert(token, id)
            if type == TokenType.control || type == TokenType.userDefined {
                try builder.add(token, id, isSpecial: type == TokenType.control)
            }
        }
        for merge in merges { try builder.merge(merge) }
        let settings = GGUFSettings(file)
        return try builder.build(
            pattern: pattern, endOfSequence: try settings.tokenId("eos"),
            beginningOfText: try settings.beginningOfText(unlessSaid: false))
    }

    /// A tokenizer of SentencePiece's pieces. User-defined ones are found in a text first, with plain spaces; control tokens are not.
    private static func pieces(
        _ tokens: [String], _ types: [Int], _ scores: [Double], path: String, _ settings: GGUFSettings
    ) throws -> Tokenizer {
        var builder = TokenizerBuilder(path: path, count: tokens.count, spelling: .pieces)
        var pieces: [(id: Int32, spelling: [UInt8], score: Double)] = []
        var bytes = [Int32](repeating: -1, count: 256)
        for (id, (token, type)) in zip(tokens, types).enumerated() {
            try builder.insert(token, id)
            switch type {
            case TokenType.normal: pieces.append((Int32(id), Array(token.utf8), scores[id]))
            case TokenType.byte:
                guard token.count == 6, token.hasPrefix("<0x"),
                    let byte = UInt8(token.dropFirst(3).dropLast(), radix: 16)
                else { throw builder.malformed("the token \"\(token)\" of a byte is not spelled <0x00> to <0xFF>") }
                bytes[Int(byte)] = Int32(id)
                builder.vocabulary.setByte(byte, Int32(id))
            case TokenType.unused:
                throw builder.malformed("the token \"\(token)\" is of the kind \"unused\", which is not supported")
            default: try builder.add(token, id, isSpecial: type != TokenType.userDefined)
            }
        }
        return try builder.build(
            pieces: pieces, bytes: bytes, endOfSequence: try settings.tokenId("eos"),
            // llama.cpp adds it unless told otherwise.
            beginningOfText: try settings.beginningOfText(unlessSaid: true))
    }

    /// Whether a key is read here or of no consequence: nothing is added to a text, and no text is generated.
    private static func isKnown(_ key: String) -> Bool {
        let ggml = "tokenizer.ggml."
        guard key.hasPrefix(ggml) else {
            return key.hasPrefix("tokenizer.chat_template") || key == "tokenizer.huggingface.json"
        }
        let name = String(key.dropFirst(ggml.count))
        return name.hasSuffix("_token_id")
            || [
                "model", "pre", "tokens", "token_type", "token_type_count", "scores", "merges", "add_bos_token",
                "add_eos_token",
                "add_sep_token", "add_space_prefix", "remove_extra_whitespaces", "eos_token_ids", "added_tokens",
            ].contains(name)
    }
}

extension GGUFSettings {
    /// The beginning-of-sequence token where `add_bos_token` asks for it.
    fileprivate func beginningOfText(unlessSaid fallback: Bool) throws -> Int? {
        try truth("tokenizer.ggml.add_bos_token", else: fallback) ? tokenId("bos") : nil
    }
}

/// llama.cpp's numbers in `tokenizer.ggml.token_type`.
private enum TokenType {
    static let normal = 1
    static let control = 3
    static let userDefined = 4
    static let unused = 5
    static let byte = 6
    /// 2 is unknown.
    static let all = 1...6
}
