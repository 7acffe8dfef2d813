import Glibc
import TensorFiles

extension Tokenizer {
    /// Reads a `tokenizer.json` of the `tokenizers` library. With `folder`, the end-of-sequence token is taken from
    /// the `tokenizer_config.json` in it.
    static func load(json path: String, folder: String?) throws -> Tokenizer {
        let document = TokenizerDocument(
            root: try TokenizerMembers(path: path, name: "", value: try JSONValue(contentsOf: path)))
        let pattern = try document.pattern()
        try document.refuseOtherSteps()
        let model = try document.model()
        guard let words = model["vocab"]?.object else { throw model.malformed("\"model.vocab\" is not an object") }
        let added = try document.addedTokens()
        // Ids may have gaps, but a single absurd one must not reserve gigabytes.
        let ids = words.values.compactMap(\.integer) + added.map(\.id)
        let limit = 2 * ids.count + 65536
        guard let highest = ids.max(), highest < limit else {
            throw model.malformed("the vocabulary is empty or has an id of \(limit) or more")
        }
        var builder = TokenizerBuilder(path: path, count: highest + 1)
        for (spelling, value) in words {
            guard let id = value.integer else { throw model.malformed("token \"\(spelling)\" has no integer id") }
            try builder.insert(spelling, id)
        }
        for token in added { try builder.add(token.text, token.id, isSpecial: token.isSpecial) }
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
        let tokenizer = try builder.build(
            pattern: pattern, endOfSequence: try endOfSequence(folder, builder.vocabulary),
            ignoreMerges: try model.truth("ignore_merges") ?? false)
        if let token = model["unk_token"], token != .null, !tokenizer.unspellableBytes.isEmpty {
            throw model.unsupported("the option \"model.unk_token\"", "null where single bytes have no token")
        }
        return tokenizer
    }

    /// The end-of-sequence token of a folder's tokenizer_config.json, which must not make another tokenizer of tokenizer.json.
    private static func endOfSequence(_ folder: String?, _ vocabulary: Vocabulary) throws -> Int? {
        guard let folder else { return nil }
        let path = folder + "/tokenizer_config.json"
        guard access(path, F_OK) == 0 else { return nil }
        let settings = try TokenizerMembers(path: path, name: "", value: try JSONValue(contentsOf: path))
        if try settings.truth("add_prefix_space") == true {
            throw settings.unsupported("a prefix space (\"add_prefix_space\")", "text as it stands")
        }
        for (id, entry) in try settings.member("added_tokens_decoder")?.objects() ?? [] {
            let text = try entry.text("content") ?? ""
            guard let known = vocabulary.id(text), String(known) == id else {
                throw settings.unsupported(
                    "the added token \"\(text)\" with id \(id), which tokenizer.json has not", "those of tokenizer.json"
                )
            }
            for option in ["single_word", "lstrip", "rstrip"] where try entry.truth(option) == true {
                throw settings.unsupported("the added token \"\(text)\" with \"\(option)\"", "added tokens without it")
            }
        }
        guard let entry = settings["eos_token"], entry != .null else { return nil }
        guard let text = entry.string ?? entry["content"]?.string else {
            throw settings.malformed("\"eos_token\" is \(entry.shown), not a token")
        }
        guard let id = vocabulary.id(text) else {
            throw settings.malformed("\"eos_token\" \"\(text)\" is not in the vocabulary")
        }
        return Int(id)
    }
}

/// The parts of a `tokenizer.json`, each refused by name if it asks for something unknown.
///
/// `truncation` and `padding` are how the file's last user called the library, which every caller sets anew, and a
/// `post_processor` adds tokens to what is asked for with special tokens; nothing here is, so the three have no say.
private struct TokenizerDocument {
    let root: TokenizerMembers

    func model() throws -> TokenizerMembers {
        guard let model = try root.member("model") else { throw root.malformed("there is no \"model\"") }
        // Files from before 0.9 of the library name no type.
        let type = try model.text("type") ?? "BPE"
        guard type == "BPE" else { throw model.unsupported("the model \"\(type)\"", "BPE on bytes") }
        for option in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            switch model[option] {
            case nil, .null?: continue
            case .string("")? where option != "dropout": continue
            case .integer(0)? where option == "dropout", .number(0)? where option == "dropout": continue
            default: throw model.unsupported("the option \"model.\(option)\"", "BPE on bytes without it")
            }
        }
        if try model.truth("byte_fallback") == true {
            throw model.unsupported("the option \"model.byte_fallback\"", "BPE on bytes without it")
        }
        _ = try model.truth("fuse_unk")
        _ = try model.text("unk_token")
        try model.refuseOthers(than: [
            "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
            "byte_fallback",
            "ignore_merges", "vocab", "merges",
        ])
        return model
    }

    func pattern() throws -> WordPattern {
        let supported = "ByteLevel, or Digits one by one and then ByteLevel"
        guard let first = try root.member("pre_tokenizer") else {
            throw root.unsupported("no pre-tokenizer", supported)
        }
        var steps = [first]
        if try first.text("type") == "Sequence" {
            steps = try first.list("pretokenizers")
            try first.refuseOthers(than: ["type", "pretokenizers"])
        }
        let names = try steps.map { try $0.text("type") ?? "unnamed" }
        guard names == ["ByteLevel"] || names == ["Digits", "ByteLevel"] else {
            throw root.unsupported("the pre-tokenizer \"\(names.joined(separator: ", "))\"", supported)
        }
        let last = steps[steps.count - 1]
        if try last.truth("add_prefix_space") ?? true {
            throw last.unsupported("ByteLevel with a prefix space", supported)
        }
        if try last.truth("use_regex") == false { throw last.unsupported("ByteLevel without its pattern", supported) }
        try last.refuseOthers(than: ["type", "add_prefix_space", "use_regex", "trim_offsets"])
        if steps.count == 1 { return .gpt2 }
        guard try steps[0].truth("individual_digits") == true else {
            throw root.unsupported("Digits in runs", supported)
        }
        try steps[0].refuseOthers(than: ["type", "individual_digits"])
        return .singleDigits
    }

    func refuseOtherSteps() throws {
        if let step = root["normalizer"], step != .null {
            throw root.unsupported("the normalizer \"\(step["type"]?.string ?? "unnamed")\"", "none")
        }
        if let decoder = root["decoder"], decoder != .null, decoder["type"] != .string("ByteLevel") {
            throw root.unsupported("the decoder \"\(decoder["type"]?.string ?? "unnamed")\"", "ByteLevel")
        }
        try root.refuseOthers(than: [
            "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
            "decoder",
            "model",
        ])
    }

    func addedTokens() throws -> [(text: String, id: Int, isSpecial: Bool)] {
        try root.list("added_tokens").map { entry in
            guard let text = entry["content"]?.string, let id = entry["id"]?.integer else {
                throw root.malformed("an entry of \"added_tokens\" has no \"content\" or no \"id\"")
            }
            for option in ["single_word", "lstrip", "rstrip"] where try entry.truth(option) == true {
                throw root.unsupported("the added token \"\(text)\" with \"\(option)\"", "added tokens without it")
            }
            // "normalized" is about what a normalizer does first, and there is none.
            try entry.refuseOthers(than: [
                "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special",
            ])
            return (text, id, try entry.truth("special") ?? false)
        }
    }
}

/// The members of an object in a `tokenizer.json`, by exactly the kind they must have; null counts as absent.
private struct TokenizerMembers {
    let path: String
    /// Where the object stands, for messages: "" or "model.".
    let name: String
    private let members: [String: JSONValue]

    init(path: String, name: String, value: JSONValue) throws {
        (self.path, self.name) = (path, name)
        guard let members = value.object else {
            throw TextError.malformedTokenizer(
                file: path, what: "\(name.isEmpty ? "it" : "\"\(name.dropLast())\"") is \(value.shown), not an object")
        }
        self.members = members
    }

    subscript(key: String) -> JSONValue? { members[key] }

    func member(_ key: String) throws -> TokenizerMembers? {
        guard let value = members[key], value != .null else { return nil }
        return try TokenizerMembers(path: path, name: name + key + ".", value: value)
    }

    /// Every member, which must be an object, in order of its key.
    func objects() throws -> [(key: String, value: TokenizerMembers)] {
        try members.sorted { $0.key < $1.key }.map {
            ($0.key, try TokenizerMembers(path: path, name: name + $0.key + ".", value: $0.value))
        }
    }

    /// The objects of a list; none where it is absent.
    func list(_ key: String) throws -> [TokenizerMembers] {
        guard let value = members[key], value != .null else { return [] }
        guard let list = value.array else { throw malformed("\"\(name)\(key)\" is not a list") }
        return try list.enumerated().map { try TokenizerMembers(path: path, name: "\(name)\(key)[\($0)].", value: $1) }
    }

    func text(_ key: String) throws -> String? { try take(key, "a text", \.string) }

    func truth(_ key: String) throws -> Bool? { try take(key, "true or false", \.bool) }

    func refuseOthers(than known: Set<String>) throws {
        if let other = members.keys.sorted().first(where: { members[$0] != .null && !known.contains($0) }) {
            throw unsupported("the option \"\(name)\(other)\"", known.sorted().joined(separator: ", "))
        }
    }

    func malformed(_ what: String) -> TextError { .malformedTokenizer(file: path, what: what) }

    func unsupported(_ found: String, _ supported: String) -> TextError {
        .unsupportedTokenizer(file: path, found: found, supported: supported)
    }

    private func take<Value>(_ key: String, _ wanted: String, _ read: (JSONValue) -> Value?) throws -> Value? {
        guard let value = members[key], value != .null else { return nil }
        guard let result = read(value) else {
            throw malformed("\"\(name)\(key)\" is \(value.shown), not \(wanted)")
        }
        return result
    }
}
