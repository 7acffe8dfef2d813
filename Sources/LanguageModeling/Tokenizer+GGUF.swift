import TensorFiles

extension Tokenizer {
    /// The tokenizer that a GGUF file carries in `tokenizer.ggml.*`.
    ///
    /// Throws `TextError` for a tokenizer that is not one of ours, also by a key that is not known here, and
    /// `LanguageModelError` for a special token's id that is none.
    public static func load(gguf file: GGUFParts) throws -> Tokenizer {
        func unsupported(_ found: String, _ supported: String) -> TextError {
            .unsupportedTokenizer(file: file.path, found: found, supported: supported)
        }
        func malformed(_ what: String) -> TextError { .malformedTokenizer(file: file.path, what: what) }
        let metadata = file.metadata
        try GGUFSettings(file).requireModel()
        func required<Value>(_ key: String, _ kind: String, _ read: (GGUFValue) -> Value?) throws -> Value {
            guard let value = metadata["tokenizer.ggml.\(key)"].flatMap(read) else {
                throw malformed("tokenizer.ggml.\(key) is missing or not \(kind)")
            }
            return value
        }
        let model = try required("model", "a text", \.string)
        guard ["gpt2", "llama"].contains(model) else { throw unsupported("the model \"\(model)\"", "gpt2, llama") }
        for key in ["add_space_prefix", "remove_extra_whitespaces"] where model != "llama" || key != "add_space_prefix"
        {
            if let value = metadata["tokenizer.ggml.\(key)"], value != .boolean(false) {
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
        guard let known = BytePreTokenizer.named[name] else {
            let names = BytePreTokenizer.named.keys.sorted().joined(separator: ", ")
            throw unsupported("the pre-tokenizer \"\(name)\"", names)
        }
        let merges = try required("merges", "a list of texts", \.strings)
        var builder = TokenizerBuilder(path: file.path, count: tokens.count)
        var words: [Int] = []
        for (id, (token, type)) in zip(tokens, types).enumerated() {
            try builder.insert(token, id)
            if type == TokenType.control || type == TokenType.userDefined {
                try builder.add(token, id, isSpecial: type == TokenType.control)
            } else {
                words.append(id)
            }
        }
        for merge in merges { try builder.merge(merge) }
        let settings = GGUFSettings(file)
        return try builder.build(
            try builder.byteAlphabet(), known.preparation, try settings.ends(begins: known.begins),
            wholeWords: known.ignoresMerges ? words : [])
    }

    /// A tokenizer of SentencePiece's pieces. User-defined ones are found in a text first, with plain spaces; control tokens are not.
    /// After a token that was found, as at the beginning, llama.cpp puts a space in front of a text, unless told otherwise.
    private static func pieces(
        _ tokens: [String], _ types: [Int], _ scores: [Double], path: String, _ settings: GGUFSettings
    ) throws -> Tokenizer {
        var builder = TokenizerBuilder(path: path, count: tokens.count, spelling: .pieces)
        var pieces: [(id: Int, score: Double)] = []
        var bytes: [Int] = []
        for (id, (token, type)) in zip(tokens, types).enumerated() {
            try builder.insert(token, id)
            switch type {
            case TokenType.normal: pieces.append((id, scores[id]))
            case TokenType.byte: bytes.append(id)
            case TokenType.unused:
                throw builder.malformed("the token \"\(token)\" is of the kind \"unused\", which is not supported")
            default: try builder.add(token, id, isSpecial: type != TokenType.userDefined)
            }
        }
        return try builder.build(
            pieces: pieces, bytes: bytes, prefix: try settings.truth("tokenizer.ggml.add_space_prefix", else: true),
            try settings.ends(begins: true))
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
    /// The tokens at the ends of texts. `begins` is what llama.cpp does where the file says nothing of the beginning.
    fileprivate func ends(begins: Bool) throws -> TextEnds {
        TextEnds(
            end: try tokenId("eos"), beginning: try tokenId("bos"),
            begins: try truth("tokenizer.ggml.add_bos_token", else: begins))
    }
}

/// What llama.cpp's names in `tokenizer.ggml.pre` stand for. Where the model's own tokenizer composes characters first, which llama.cpp
/// leaves out, so is done here: the model was trained on that.
private struct BytePreTokenizer {
    var pattern: WordPattern
    var composes = false
    var ignoresMerges = false
    /// Whether texts begin with the beginning-of-sequence token unless the file says otherwise.
    var begins = false

    var preparation: TextPreparation {
        TextPreparation(normalization: TextNormalization(composes: composes), pattern: pattern)
    }

    static let named: [String: BytePreTokenizer] = {
        let llama3 = BytePreTokenizer(pattern: .gpt4(digits: 3), ignoresMerges: true, begins: true)
        let neox = BytePreTokenizer(pattern: .gpt2, composes: true)
        return [
            "default": BytePreTokenizer(pattern: .gpt2), "gpt-2": BytePreTokenizer(pattern: .gpt2),
            "smollm": BytePreTokenizer(pattern: .singleDigits), "llama-bpe": llama3, "llama3": llama3,
            "llama-v3": llama3, "qwen2": BytePreTokenizer(pattern: .gpt4(digits: 1), composes: true), "olmo": neox,
            "mpt": neox,
        ]
    }()
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
