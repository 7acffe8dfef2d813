import Glibc
import TensorFiles

extension Tokenizer {
    /// Reads a `tokenizer.json` of the `tokenizers` library. With `folder`, the `tokenizer_config.json` in it names the
    /// end-of-sequence token and may say otherwise about the beginning.
    static func load(json path: String, folder: String?) throws -> Tokenizer {
        // In a vocabulary two spellings of one character are two tokens.
        let document = TokenizerDocument(
            root: try TokenizerMembers(
                path: path, name: "", value: try JSONValue(contentsOf: path, listing: ["vocab"])))
        var steps = try document.steps()
        let model = try document.model(ofPieces: steps.spelling == .pieces)
        let words = try document.words(model)
        let added = try document.addedTokens()
        // Ids may have gaps, but a single absurd one must not reserve gigabytes.
        let ids = words.map(\.id) + added.map(\.id)
        let limit = 2 * ids.count + 65536
        guard let highest = ids.max(), highest < limit else {
            throw model.malformed("the vocabulary is empty or has an id of \(limit) or more")
        }
        var builder = TokenizerBuilder(path: path, count: highest + 1, spelling: steps.spelling)
        for word in words { try builder.insert(word.text, word.id) }
        for token in added { try builder.add(token.text, token.id, isSpecial: token.isSpecial) }
        try document.addMerges(of: model, to: &builder)
        let alphabet: SymbolAlphabet
        switch steps.spelling {
        case .byteLevel: alphabet = try builder.byteAlphabet()
        case .pieces:
            alphabet = try builder.pieceAlphabet(
                pieces: words.map(\.id), bytes: words.filter { TokenizerBuilder.byte($0.text) != nil }.map(\.id))
            if steps.preparation.pattern.isNone { steps.preparation.pattern = .none(pieces: builder.mergedSpellings) }
        }
        let settings = try TokenizerSettings(folder: folder, vocabulary: builder.vocabulary)
        try settings?.requirePrefix(steps.preparation.hasPrefix)
        let template = try document.beginning()
        let tokenizer = try builder.build(
            alphabet, steps.preparation,
            try settings?.ends(template: template) ?? TextEnds(beginning: template, begins: template != nil),
            wholeWords: try model.truth("ignore_merges") == true ? words.map(\.id) : [],
            normalized: Set(added.filter(\.isNormalized).map { Int32($0.id) }))
        if let token = model["unk_token"], token != .null, !tokenizer.unspellableBytes.isEmpty {
            throw model.unsupported("the option \"model.unk_token\"", "null where single bytes have no token")
        }
        return tokenizer
    }
}

/// What a folder's `tokenizer_config.json` says, which must not make another tokenizer of `tokenizer.json`.
private struct TokenizerSettings {
    let members: TokenizerMembers
    let vocabulary: Vocabulary

    /// nil where there is none.
    init?(folder: String?, vocabulary: Vocabulary) throws {
        guard let folder else { return nil }
        let path = folder + "/tokenizer_config.json"
        guard access(path, F_OK) == 0 else { return nil }
        members = try TokenizerMembers(path: path, name: "", value: try JSONValue(contentsOf: path))
        self.vocabulary = vocabulary
        for (id, entry) in try members.member("added_tokens_decoder")?.objects() ?? [] {
            let text = try entry.text("content") ?? ""
            guard let known = vocabulary.id(text), String(known) == id else {
                throw members.unsupported(
                    "the added token \"\(text)\" with id \(id), which tokenizer.json has not", "those of tokenizer.json"
                )
            }
            for option in ["single_word", "lstrip", "rstrip"] where try entry.truth(option) == true {
                throw members.unsupported("the added token \"\(text)\" with \"\(option)\"", "added tokens without it")
            }
        }
    }

    /// Checks that `tokenizer.json` does what is said here of a space in front.
    func requirePrefix(_ hasPrefix: Bool) throws {
        guard let wanted = try members.truth("add_prefix_space"), wanted != hasPrefix else { return }
        throw wanted
            ? members.unsupported("a prefix space (\"add_prefix_space\")", "text as it stands, as in tokenizer.json")
            : members.unsupported("no prefix space (\"add_prefix_space\")", "a space in front, as in tokenizer.json")
    }

    /// The tokens at the ends of texts. `template` is the one that tokenizer.json puts before a text; whether one is put there is
    /// said here, if at all.
    func ends(template: Int?) throws -> TextEnds {
        let adds = try members.truth("add_bos_token")
        let beginning = try token("bos_token")
        if adds == true, beginning == nil, template == nil {
            throw members.malformed("\"add_bos_token\" is true, and there is no \"bos_token\"")
        }
        return TextEnds(
            end: try token("eos_token"), beginning: adds == nil ? template ?? beginning : beginning ?? template,
            begins: adds ?? (template != nil))
    }

    /// The id of a special token.
    func token(_ key: String) throws -> Int? {
        guard let entry = members[key], entry != .null else { return nil }
        guard let text = entry.string ?? entry["content"]?.string else {
            throw members.malformed("\"\(key)\" is \(entry.shown), not a token")
        }
        guard let id = vocabulary.id(text) else {
            throw members.malformed("\"\(key)\" \"\(text)\" is not in the vocabulary")
        }
        return Int(id)
    }
}
