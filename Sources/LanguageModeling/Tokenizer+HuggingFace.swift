import Glibc
import TensorFiles

extension Tokenizer {
    /// Reads a `tokenizer.json` of the `tokenizers` library. With `folder`, the end-of-sequence token is taken from
    /// the `tokenizer_config.json` in it.
    static func load(json path: String, folder: String?) throws -> Tokenizer {
        let document = TokenizerDocument(path: path, root: try JSONValue(contentsOf: path))
        let pattern = try document.pattern()
        try document.refuseNormalizer()
        let model = try document.model()
        guard let words = model["vocab"]?.object else { throw document.malformed("\"model.vocab\" is not an object") }
        let added = try document.addedTokens()
        // Ids may have gaps, but a single absurd one must not reserve gigabytes.
        let ids = words.values.compactMap(\.integer) + added.map(\.id)
        let limit = 2 * ids.count + 65536
        guard let highest = ids.max(), highest < limit else {
            throw document.malformed("the vocabulary is empty or has an id of \(limit) or more")
        }
        var builder = TokenizerBuilder(path: path, count: highest + 1)
        for (spelling, value) in words {
            guard let id = value.integer else { throw document.malformed("token \"\(spelling)\" has no integer id") }
            try builder.insert(spelling, id)
        }
        for token in added { try builder.add(token.text, token.id, isSpecial: token.isSpecial) }
        guard let merges = model["merges"]?.array else { throw document.malformed("\"model.merges\" is not a list") }
        for merge in merges {
            if let joined = merge.string {
                try builder.merge(joined)
            } else if let parts = merge.array, parts.count == 2, let left = parts[0].string, let right = parts[1].string
            {
                try builder.merge(left, right)
            } else {
                throw document.malformed("\"model.merges\" holds something that is not a pair of tokens")
            }
        }
        return try builder.build(
            pattern: pattern, endOfSequence: try endOfSequence(folder, builder.vocabulary),
            ignoreMerges: model["ignore_merges"]?.bool ?? false)
    }

    private static func endOfSequence(_ folder: String?, _ vocabulary: Vocabulary) throws -> Int? {
        guard let folder else { return nil }
        let path = folder + "/tokenizer_config.json"
        guard access(path, F_OK) == 0 else { return nil }
        let entry = try JSONValue(contentsOf: path)["eos_token"]
        guard let text = entry?.string ?? entry?["content"]?.string else { return nil }
        guard let id = vocabulary.id(text) else {
            throw TextError.malformedTokenizer(file: path, what: "\"eos_token\" \"\(text)\" is not in the vocabulary")
        }
        return Int(id)
    }
}

/// The parts of a `tokenizer.json`, each refused by name if it asks for something unknown.
private struct TokenizerDocument {
    let path: String
    let root: JSONValue

    func model() throws -> JSONValue {
        guard let model = root["model"] else { throw malformed("there is no \"model\"") }
        // Files from before 0.9 of the library name no type.
        let type = model["type"]?.string ?? "BPE"
        guard type == "BPE" else { throw unsupported("the model \"\(type)\"", "BPE on bytes") }
        for option in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            switch model[option] {
            case nil, .null?, .string("")?: continue
            case .integer(0)?, .number(0)?: continue
            default: throw unsupported("the option \"model.\(option)\"", "BPE on bytes without it")
            }
        }
        if model["byte_fallback"]?.bool == true {
            throw unsupported("the option \"model.byte_fallback\"", "BPE on bytes without it")
        }
        return model
    }

    func pattern() throws -> WordPattern {
        let supported = "ByteLevel, or Digits one by one and then ByteLevel"
        guard let step = root["pre_tokenizer"], step != .null else { throw unsupported("no pre-tokenizer", supported) }
        let steps = step["type"]?.string == "Sequence" ? step["pretokenizers"]?.array ?? [] : [step]
        let names = steps.map { $0["type"]?.string ?? "unnamed" }
        guard names == ["ByteLevel"] || names == ["Digits", "ByteLevel"] else {
            throw unsupported("the pre-tokenizer \"\(names.joined(separator: ", "))\"", supported)
        }
        let last = steps[steps.count - 1]
        if last["add_prefix_space"]?.bool ?? true { throw unsupported("ByteLevel with a prefix space", supported) }
        if last["use_regex"]?.bool == false { throw unsupported("ByteLevel without its pattern", supported) }
        if steps.count == 1 { return .gpt2 }
        guard steps[0]["individual_digits"]?.bool == true else {
            throw unsupported("Digits in runs", supported)
        }
        return .singleDigits
    }

    func refuseNormalizer() throws {
        guard let step = root["normalizer"], step != .null else { return }
        throw unsupported("the normalizer \"\(step["type"]?.string ?? "unnamed")\"", "none")
    }

    func addedTokens() throws -> [(text: String, id: Int, isSpecial: Bool)] {
        guard let list = root["added_tokens"], list != .null else { return [] }
        guard let entries = list.array else { throw malformed("\"added_tokens\" is not a list") }
        return try entries.map { entry in
            guard let text = entry["content"]?.string, let id = entry["id"]?.integer else {
                throw malformed("an entry of \"added_tokens\" has no \"content\" or no \"id\"")
            }
            for option in ["single_word", "lstrip", "rstrip"] where entry[option]?.bool == true {
                throw unsupported("the added token \"\(text)\" with \"\(option)\"", "added tokens without it")
            }
            return (text, id, entry["special"]?.bool ?? false)
        }
    }

    func malformed(_ what: String) -> TextError { .malformedTokenizer(file: path, what: what) }

    func unsupported(_ found: String, _ supported: String) -> TextError {
        .unsupportedTokenizer(file: path, found: found, supported: supported)
    }
}
