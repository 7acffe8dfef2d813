import TensorFiles

/// The parts of a `tokenizer.json`, each refused by name if it asks for something unknown.
///
/// `truncation` and `padding` are how the file's last user called the library, which every caller sets anew; the two have no say.
struct TokenizerDocument {
    let root: TokenizerMembers

    /// The "model": byte-pair encoding, of bytes or of pieces with byte fallback.
    ///
    /// How unknown characters are fused has no say where every byte has a token.
    func model(ofPieces: Bool) throws -> TokenizerMembers {
        guard let model = try root.member("model") else { throw root.malformed("there is no \"model\"") }
        // Files from before 0.9 of the library name no type.
        let type = try model.text("type") ?? "BPE"
        guard type == "BPE" else { throw model.unsupported("the model \"\(type)\"", "BPE") }
        for option in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            switch model[option] {
            case nil, .null?: continue
            case .string("")? where option != "dropout": continue
            case .integer(0)? where option == "dropout", .number(0)? where option == "dropout": continue
            default: throw model.unsupported("the option \"model.\(option)\"", "BPE without it")
            }
        }
        if try model.truth("byte_fallback") ?? false != ofPieces {
            throw ofPieces
                ? model.unsupported("pieces without \"model.byte_fallback\"", "true")
                : model.unsupported("the option \"model.byte_fallback\"", "BPE on bytes without it")
        }
        _ = try model.truth("fuse_unk")
        _ = try model.text("unk_token")
        try model.refuseOthers(than: [
            "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
            "byte_fallback", "ignore_merges", "vocab", "merges",
        ])
        return model
    }

    /// The vocabulary in the order of the file.
    func words(_ model: TokenizerMembers) throws -> [(text: String, id: Int)] {
        // Read as a list of key, value, …
        guard let list = model["vocab"]?.array, list.count % 2 == 0 else {
            throw model.malformed("\"model.vocab\" is not an object")
        }
        return try stride(from: 0, to: list.count, by: 2).map { i in
            guard let text = list[i].string else { throw model.malformed("\"model.vocab\" is not an object") }
            guard let id = list[i + 1].integer else { throw model.malformed("token \"\(text)\" has no integer id") }
            return (text, id)
        }
    }

    /// Merges in order of rank: pairs, or as in older files two tokens joined by a space.
    func addMerges(of model: TokenizerMembers, to builder: inout TokenizerBuilder) throws {
        guard let merges = model["merges"]?.array else { throw model.malformed("\"model.merges\" is not a list") }
        for merge in merges {
            if let joined = merge.string {
                try builder.merge(joined)
            } else if let parts = merge.array, parts.count == 2, let left = parts[0].string, let right = parts[1].string
            {
                try builder.merge(left, right)
            } else {
                throw model.malformed("\"model.merges\" holds something that is not a pair of tokens")
            }
        }
    }

    /// An added token. A normalised one is found in the normalised text, spelled as the normalizer spells it.
    struct AddedToken {
        let text: String
        let id: Int
        let isSpecial: Bool
        let isNormalized: Bool
    }

    func addedTokens() throws -> [AddedToken] {
        try root.list("added_tokens").map { entry in
            guard let text = entry["content"]?.string, let id = entry["id"]?.integer else {
                throw root.malformed("an entry of \"added_tokens\" has no \"content\" or no \"id\"")
            }
            for option in ["single_word", "lstrip", "rstrip"] where try entry.truth(option) == true {
                throw root.unsupported("the added token \"\(text)\" with \"\(option)\"", "added tokens without it")
            }
            try entry.refuseOthers(than: [
                "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special",
            ])
            return AddedToken(
                text: text, id: id, isSpecial: try entry.truth("special") ?? false,
                isNormalized: try entry.truth("normalized") ?? false)
        }
    }

    /// The token that the "post_processor" puts before a text.
    func beginning() throws -> Int? {
        guard let processor = try root.member("post_processor") else { return nil }
        var steps = [processor]
        if try processor.text("type") == "Sequence" {
            steps = try processor.list("processors")
            try processor.refuseOthers(than: ["type", "processors"])
        }
        var result: [Int] = []
        for step in steps {
            switch try step.text("type") {
            // It is about offsets alone.
            case "ByteLevel": continue
            case "TemplateProcessing": result += try beginning(of: step)
            case let type:
                throw root.unsupported(
                    "the post-processor \"\(type ?? "unnamed")\"", "ByteLevel, TemplateProcessing")
            }
        }
        guard result.count < 2 else { throw root.unsupported("two tokens before a text", "one or none") }
        return result.first
    }

    /// What stands before the text in "single". What stands behind it is no part of a text that goes on.
    private func beginning(of template: TokenizerMembers) throws -> [Int] {
        var result: [Int] = []
        for part in try template.list("single") {
            guard let special = try part.member("SpecialToken") else { break }
            let name = try special.text("id") ?? ""
            guard let ids = try template.member("special_tokens")?.member(name)?.integers("ids") else {
                throw template.malformed("\"post_processor\" uses the token \"\(name)\" and gives no \"ids\" of it")
            }
            result += ids
        }
        return result
    }
}
