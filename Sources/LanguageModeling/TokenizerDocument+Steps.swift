import TensorFiles

/// From a text to symbols, as `tokenizer.json` says it in "normalizer", "pre_tokenizer" and "decoder".
struct TokenizerSteps {
    let spelling: Vocabulary.Spelling
    var preparation: TextPreparation
}

extension TokenizerDocument {
    /// Throws `TextError` for steps that are not those of a family known here.
    func steps() throws -> TokenizerSteps {
        try root.refuseOthers(than: [
            "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
            "decoder", "model",
        ])
        let normalization = try normalizer()
        let steps = try sequence("pre_tokenizer", of: "pretokenizers")
        let names = try steps.map { try $0.text("type") ?? "unnamed" }
        let result =
            names.last == "ByteLevel" && !normalization.spellsSpaces
            ? try byteLevel(steps, names, normalization) : try pieces(steps, names, normalization)
        try checkDecoder(result.spelling)
        return result
    }

    /// A member that is one step or a "Sequence" of them; none where it is absent.
    private func sequence(_ key: String, of list: String) throws -> [TokenizerMembers] {
        guard let step = try root.member(key) else { return [] }
        guard try step.text("type") == "Sequence" else { return [step] }
        try step.refuseOthers(than: ["type", list])
        return try step.list(list)
    }

    /// NFC, and for pieces Prepend and Replace; their order has no say.
    private func normalizer() throws -> TextNormalization {
        var result = TextNormalization()
        for step in try sequence("normalizer", of: "normalizers") {
            switch try step.text("type") ?? "unnamed" {
            case "NFC":
                result.composes = true
                try step.refuseOthers(than: ["type"])
            case "Prepend" where step["prepend"] == .string("\u{2581}"):
                result.prepends = true
                try step.refuseOthers(than: ["type", "prepend"])
            case "Replace" where step["content"] == .string("\u{2581}") && isOfSpace(step):
                result.spellsSpaces = true
                try step.refuseOthers(than: ["type", "pattern", "content"])
            case let type:
                throw root.unsupported(
                    "the normalizer \"\(type)\"", "NFC, Prepend of ▁, Replace of a space by ▁, or none")
            }
        }
        if result.prepends, !result.spellsSpaces {
            throw root.unsupported("the normalizer \"Prepend\" alone", "Prepend with Replace of a space by ▁")
        }
        return result
    }

    private func isOfSpace(_ step: TokenizerMembers) -> Bool { step["pattern"] == .object(["String": .string(" ")]) }

    /// Cut by a pattern, then spelled byte by byte.
    private func byteLevel(
        _ steps: [TokenizerMembers], _ names: [String], _ normalization: TextNormalization
    ) throws -> TokenizerSteps {
        let supported = "ByteLevel, Digits one by one and ByteLevel, or a known Split and ByteLevel"
        let last = steps[steps.count - 1]
        try last.refuseOthers(than: ["type", "add_prefix_space", "use_regex", "trim_offsets"])
        // The library's own defaults. Where a word begins in the text, "trim_offsets", has no say in ids.
        let prefix = try last.truth("add_prefix_space") ?? true
        let cuts = try last.truth("use_regex") ?? true
        let pattern: WordPattern
        switch names {
        case ["ByteLevel"]: pattern = .gpt2
        case ["Digits", "ByteLevel"]:
            guard try steps[0].truth("individual_digits") == true else {
                throw root.unsupported("Digits in runs", supported)
            }
            try steps[0].refuseOthers(than: ["type", "individual_digits"])
            pattern = .singleDigits
        case ["Split", "ByteLevel"]: pattern = try split(steps[0])
        default: throw root.unsupported("the pre-tokenizer \"\(names.joined(separator: ", "))\"", supported)
        }
        if prefix, steps.count > 1 { throw last.unsupported("ByteLevel with a prefix space", supported) }
        if cuts == (names[0] == "Split") {
            throw last.unsupported(cuts ? "two patterns" : "ByteLevel without its pattern", supported)
        }
        return TokenizerSteps(
            spelling: .byteLevel,
            preparation: TextPreparation(
                normalization: normalization, prefix: prefix ? .every : .none, pattern: pattern))
    }

    /// The pattern of a Split that keeps all of the text.
    private func split(_ step: TokenizerMembers) throws -> WordPattern {
        try step.refuseOthers(than: ["type", "pattern", "behavior", "invert"])
        let (behavior, inverts) = (try step.text("behavior"), try step.truth("invert") ?? false)
        guard behavior == "Isolated" && !inverts || behavior == "Removed" && inverts else {
            throw root.unsupported(
                "Split with \"behavior\" \(behavior ?? "none") and \"invert\" \(inverts)", "Isolated and false")
        }
        guard let text = try step.member("pattern")?.text("Regex") else {
            throw root.unsupported("Split without \"Regex\"", "a known pattern")
        }
        guard let pattern = WordPattern.ofExpression[text] else {
            throw root.unsupported("the pattern \(text)", "those of GPT-2, GPT-4, Llama 3, Qwen 2 and Qwen 3")
        }
        return pattern
    }

    /// Spaces spelled `▁`, by a normalizer or by Metaspace.
    private func pieces(
        _ steps: [TokenizerMembers], _ names: [String], _ normalization: TextNormalization
    ) throws -> TokenizerSteps {
        let supported = "ByteLevel, Metaspace, or none after a normalizer that replaces spaces by ▁"
        var result = TextPreparation(normalization: normalization, pattern: .pieces(joined: []))
        switch (names, normalization.spellsSpaces) {
        case ([], true): break
        case ([], false): throw root.unsupported("no pre-tokenizer", supported)
        case (["Split"], true) where isOfSpace(steps[0]):
            // No space is left to split at. Gemma has it.
            try steps[0].refuseOthers(than: ["type", "pattern", "behavior", "invert"])
        case (["Metaspace"], false): try metaspace(steps[0], &result)
        default: throw root.unsupported("the pre-tokenizer \"\(names.joined(separator: ", "))\"", supported)
        }
        return TokenizerSteps(spelling: .pieces, preparation: result)
    }

    /// Both spellings: older files have "add_prefix_space", newer ones "prepend_scheme". Without either the library puts a space in front
    /// of every stretch.
    private func metaspace(_ step: TokenizerMembers, _ result: inout TextPreparation) throws {
        try step.refuseOthers(than: ["type", "replacement", "str_rep", "add_prefix_space", "prepend_scheme", "split"])
        for key in ["replacement", "str_rep"] {
            guard let text = try step.text(key) ?? (key == "str_rep" ? "\u{2581}" : nil), text == "\u{2581}" else {
                throw root.unsupported("Metaspace with another \"\(key)\" than ▁", "▁")
            }
        }
        let schemes: [String: TextPreparation.Prefix] = ["always": .every, "first": .first, "never": .none]
        let scheme = try step.text("prepend_scheme")
        guard let prefix = schemes[scheme ?? "always"] else {
            throw root.unsupported("Metaspace with \"prepend_scheme\" \(scheme ?? "")", "always, first, never")
        }
        result.prefix = prefix
        if try step.truth("add_prefix_space") == false {
            guard scheme == nil || prefix == .none else {
                throw root.malformed("\"add_prefix_space\" and \"prepend_scheme\" of Metaspace contradict each other")
            }
            result.prefix = .none
        }
        result.normalization.spellsSpaces = true
        if try step.truth("split") ?? true { result.pattern = .spaces }
    }

    /// Tokens stand for bytes whatever the decoder; one that would show them otherwise is refused. A space put in front is shown.
    private func checkDecoder(_ spelling: Vocabulary.Spelling) throws {
        let names = try sequence("decoder", of: "decoders").map { try $0.text("type") ?? "unnamed" }
        let known: Set<String> =
            spelling == .byteLevel ? ["ByteLevel"] : ["Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"]
        if let other = names.first(where: { !known.contains($0) }) {
            throw root.unsupported("the decoder \"\(other)\"", known.sorted().joined(separator: ", "))
        }
    }
}

extension TextPreparation {
    /// Whether a text gets a space in front.
    var hasPrefix: Bool { normalization.prepends || prefix != .none }
}

extension WordPattern {
    /// The patterns known, by the regular expressions that define them.
    static let ofExpression: [String: WordPattern] = [
        #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#: .gpt2,
        gpt4Expression("{1,3}"): .gpt4(digits: 3), gpt4Expression(""): .gpt4(digits: 1),
    ]

    private static func gpt4Expression(_ digits: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + digits
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }
}
