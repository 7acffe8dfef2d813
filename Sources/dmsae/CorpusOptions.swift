import ArgumentParser
import LanguageModeling
import TensorFiles

/// Options of commands that read text, or token ids in its place, as rows of tokens.
@dynamicMemberLookup
struct CorpusOptions: ParsableArguments {
    @Option(help: RowOptions.help)
    var text: [String]

    @OptionGroup var rows: RowOptions

    /// The corpus.
    ///
    /// - Throws: `TextError`; `TensorFileError`.
    func open() throws -> Corpus { try rows.reading.corpus(text) }

    subscript<Value>(dynamicMember member: KeyPath<RowOptions, Value>) -> Value { rows[keyPath: member] }

    /// The tokenizer of a model; nil for a model without one where the corpus is token ids.
    ///
    /// - Throws: as `loadTokenizer`.
    func tokenizer(model path: String, for corpus: Corpus) throws -> Tokenizer? {
        try rows.tokenizer(model: path, for: corpus)
    }

    /// `tokens` tokens, rounded up to whole sequences.
    ///
    /// - Throws: `TextError`.
    func dataset(of corpus: Corpus, _ tokenizer: Tokenizer?, _ model: any LanguageModel, tokens: Int) throws
        -> TokenDataset
    {
        try rows.dataset(of: corpus, tokenizer, model, tokens: tokens)
    }

    /// Warns of what of the corpus was not used, and that it was shorter than asked for.
    func warn(of corpus: Corpus, _ data: TokenDataset, tokens: Int, _ what: String) {
        if data.deliveredTokenCount < tokens {
            Terminal.shared.warn(
                "\(corpus.files.path) has \(data.deliveredTokenCount) of the \(tokens) tokens asked for; those are \(what)"
            )
        }
    }
}

/// How text becomes rows of tokens, and these passes through a model.
struct RowOptions: ParsableArguments {
    static let help = ArgumentHelp(
        "Corpus: .jsonl or .txt, also packed (.gz, .zst); token ids as .npy, .safetensors or .bin; or a folder of them. May be repeated."
    )

    @Option(help: "Tokens per sequence.")
    var context = 256

    @Option(help: "Sequences per pass through the model.")
    var sequences = 8

    @Option(help: "Tokens of the corpus to pass over first.")
    var skip = 0

    @OptionGroup var reading: ReadingOptions
    @OptionGroup var tokens: SequenceOptions

    func validate() throws {
        try require("--context", context, in: OptionRange.context)
        try require("--sequences", sequences, in: OptionRange.sequences)
        try require("--skip", skip, in: OptionRange.skip)
    }

    /// The tokenizer of a model; nil for a model without one where the corpus is token ids.
    ///
    /// - Throws: as `loadTokenizer`.
    func tokenizer(model path: String, for corpus: Corpus) throws -> Tokenizer? {
        if case .tokens = corpus, !hasTokenizer(path) { return nil }
        return try loadTokenizer(model: path)
    }

    /// `tokens` tokens, rounded up to whole sequences; all there are without a number.
    ///
    /// - Throws: `TextError`.
    func dataset(of corpus: Corpus, _ tokenizer: Tokenizer?, _ model: any LanguageModel, tokens: Int? = nil) throws
        -> TokenDataset
    {
        var cut = self.tokens.cut(length: context)
        cut.skip = skip
        cut.limit = tokens.map { ($0 + context - 1) / context * context }
        return try TokenDataset(corpus, tokenizer, vocabularySize: model.configuration.vocabularySize, cut)
    }

    /// What rows depend on, for records.
    var recorded: [String: String] {
        var result = [
            "context": "\(context)", "sequences": "\(sequences)", "skip bad lines": "\(reading.skipBadLines)",
        ]
        result.merge(tokens.recorded) { $1 }
        result.merge(reading.recorded) { $1 }
        return result
    }
}

/// How the files of a corpus are read.
struct ReadingOptions: ParsableArguments {
    @Option(help: "The member of a line of .jsonl that holds the text.")
    var textKey = "text"

    @Flag(help: "Pass over lines of .jsonl that cannot be read, and say how many there were.")
    var skipBadLines = false

    @Option(help: ArgumentHelp("Numbers that a .bin file of token ids consists of.", valueName: "u16|u32"))
    var tokenType: TokenWidth?

    /// - Throws: `TextError`; `TensorFileError`.
    func corpus(_ paths: [String]) throws -> Corpus {
        var reading = CorpusReading()
        (reading.textKey, reading.skipsBadLines, reading.tokenWidth) = (textKey, skipBadLines, tokenType)
        return try Corpus(paths, reading)
    }

    /// What was asked for, for records.
    var recorded: [String: String] {
        var result: [String: String] = [:]
        if textKey != "text" { result["text_key"] = textKey }
        if let tokenType { result["token_type"] = tokenType.rawValue }
        return result
    }
}

extension TokenWidth: ExpressibleByArgument {}

extension Corpus {
    /// Its files by what they are for: of several corpora in their order, which decides about the tokens.
    func roles(_ role: String) -> [(role: String, paths: [String])] {
        let given = files.given
        return given.enumerated().map { (given.count == 1 ? role : "\(role) \($0 + 1)", $1.files) }
    }
}

extension Terminal {
    /// Says how many lines of a corpus were passed over, and what was wrong with the first.
    func warn(skippedIn corpus: Corpus) {
        let (count, first) = corpus.skippedLines
        guard count > 0, let first else { return }
        warn("\(count) bad line\(count == 1 ? " was" : "s were") passed over, the first: \(first.cause)")
    }
}

/// An answer on the command line.
enum Choice: String, ExpressibleByArgument, CaseIterable { case yes, no }

/// Options about how text becomes sequences.
struct SequenceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Join documents, the end-of-text token between them; or have each in sequences of its own, the last of them padded. "
                + "Padding counts as tokens of --tokens and --skip, and nowhere else.", valueName: "yes|no"))
    var pack: Choice = .yes

    @Option(
        help: ArgumentHelp(
            "Begin sequences with the beginning-of-sequence token; default as the model's tokenizer says.",
            valueName: "yes|no"))
    var bos: Choice?

    @Flag(help: "Take a special token spelled out in the text as that token, and not as text.")
    var parseSpecial = false

    /// Rows of `length` tokens.
    func cut(length: Int) -> TokenDataset.Cut {
        var cut = TokenDataset.Cut(length: length)
        (cut.begins, cut.allowsSpecial, cut.joins) = (bos.map { $0 == .yes }, parseSpecial, pack == .yes)
        return cut
    }

    /// What was asked for, for records.
    var recorded: [String: String] {
        var result: [String: String] = [:]
        if pack == .no { result["pack"] = pack.rawValue }
        if let bos { result["bos"] = bos.rawValue }
        if parseSpecial { result["parse_special"] = "true" }
        return result
    }
}
