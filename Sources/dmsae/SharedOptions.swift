import ArgumentParser
import Attribution
import Distillation
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// Options of every command that takes a while.
struct OutputOptions: ParsableArguments {
    @Flag(help: "No progress; warnings and errors only.")
    var quiet = false

    @Flag(help: "Print one machine-readable JSON object on standard output.")
    var json = false

    func apply() { if quiet { Terminal.shared.silence() } }
}

/// Options of commands that harvest or train.
struct CheckpointOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Keep the state of what takes long every so many minutes, and when it is stopped, to go on from with --resume.",
            valueName: "MINUTES"))
    var checkpointEvery = 10.0

    /// As the trainings want it.
    var rhythm: CheckpointRhythm { CheckpointRhythm(seconds: 60 * checkpointEvery) }

    func validate() throws { try require("--checkpoint-every", checkpointEvery, in: 0...1e6) }
}

/// Options of commands that read text as rows of tokens.
struct CorpusOptions: ParsableArguments {
    @Option(help: "Corpus: .jsonl with a \"text\" key, .txt, or a folder of them.")
    var text: String

    @Option(help: "Tokens per sequence.")
    var context = 256

    @Option(help: "Sequences per pass through the model.")
    var sequences = 8

    @Option(help: "Tokens of the corpus to pass over first.")
    var skip = 0

    @OptionGroup var lines: BadLineOptions
    @OptionGroup var tokens: SpecialTokenOptions

    func validate() throws {
        try require("--context", context, in: OptionRange.context)
        try require("--sequences", sequences, in: OptionRange.sequences)
        try require("--skip", skip, in: OptionRange.skip)
    }

    /// The corpus.
    ///
    /// - Throws: `TextError`.
    func open() throws -> TextCorpus { try lines.corpus(text) }

    func warnOfSkippedLines(_ corpus: TextCorpus) { lines.warn(corpus) }

    /// `tokens` tokens, rounded up to whole sequences.
    ///
    /// - Throws: `TextError`.
    func dataset(of corpus: TextCorpus, _ tokenizer: Tokenizer, tokens: Int) throws -> TokenDataset {
        try TokenDataset(
            corpus: corpus, tokenizer: tokenizer, length: context, skip: skip,
            limit: (tokens + context - 1) / context * context, begins: self.tokens.begins,
            allowsSpecial: self.tokens.parseSpecial)
    }
}

/// What becomes of lines that are not what a corpus says they are.
struct BadLineOptions: ParsableArguments {
    @Flag(help: "Pass over lines of .jsonl that cannot be read, and say how many there were.")
    var skipBadLines = false

    /// - Throws: `TextError`.
    func corpus(_ path: String) throws -> TextCorpus { try TextCorpus(path: path, skipsBadLines: skipBadLines) }

    func warn(_ corpus: TextCorpus) { Terminal.shared.warn(skippedIn: corpus) }
}

extension Terminal {
    /// Says how many lines of a corpus were passed over, and what was wrong with the first.
    func warn(skippedIn corpus: TextCorpus) {
        let (count, first) = corpus.skippedLines
        guard count > 0, let first else { return }
        warn("\(count) bad line\(count == 1 ? " was" : "s were") passed over, the first: \(first.cause)")
    }
}

/// An answer on the command line.
enum Choice: String, ExpressibleByArgument, CaseIterable { case yes, no }

/// Options about tokens that stand for no text.
struct SpecialTokenOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Begin sequences with the beginning-of-sequence token; default as the model's tokenizer says.",
            valueName: "yes|no"))
    var bos: Choice?

    @Flag(help: "Take a special token spelled out in the text as that token, and not as text.")
    var parseSpecial = false

    /// nil for as the tokenizer says.
    var begins: Bool? { bos.map { $0 == .yes } }

    /// What was asked for, for records.
    var recorded: [String: String] {
        var result: [String: String] = [:]
        if let bos { result["bos"] = bos.rawValue }
        if parseSpecial { result["parse_special"] = "true" }
        return result
    }
}

/// Options of commands that splice into a language model.
struct SpliceOptions: ParsableArguments {
    @Option(help: "The first n positions of every sequence keep the model's own activation and are not scored.")
    var keepFirst = 1

    @Option(help: ArgumentHelp("Special tokens keep the model's own activation.", valueName: "yes|no"))
    var keepSpecial: Choice = .yes

    @Option(
        help: ArgumentHelp(
            "Positions with a norm above this multiple of the median are attention sinks and kept; off for none.",
            valueName: "RATIO|off"))
    var sinks: SinkRatio = SinkRatio(value: 10)

    struct SinkRatio: ExpressibleByArgument {
        let value: Float?

        init(value: Float?) { self.value = value }

        init?(argument: String) {
            if argument == "off" {
                value = nil
            } else if let number = Float(argument), number > 1, number.isFinite {
                value = number
            } else {
                return nil
            }
        }

        var defaultValueDescription: String { value.map { "\($0)" } ?? "off" }
    }

    func validate() throws {
        guard keepFirst >= 0 else { throw ValidationError("--keep-first is \(keepFirst); it must be 0 or more") }
    }

    /// The policy for a model; special tokens are the tokenizer's, where there is one, and the configuration's.
    func policy(_ configuration: ModelConfiguration, tokenizer: Tokenizer?) -> SplicePolicy {
        SplicePolicy(
            keepFirst: keepFirst,
            specialTokens: keepSpecial == .yes ? configuration.specialTokens(with: tokenizer) : [],
            sinkRatio: sinks.value)
    }
}

extension ModelConfiguration {
    /// Every token that is special to the model: flagged by its tokenizer, or named in this configuration.
    func specialTokens(with tokenizer: Tokenizer?) -> Set<Int32> {
        Set(specialTokenIds.map { Int32($0) }).union(tokenizer?.specialTokens ?? [])
    }
}

/// The tokenizer of a model.
///
/// - Throws: `LanguageModelError.noModel` when nothing is at the path: the tokenizer is looked for first, but is not what
///   a wrong path is wrong about.
func loadTokenizer(model path: String) throws -> Tokenizer {
    guard exists(path) else {
        throw LanguageModelError.noModel(path: path, missing: "there is no such file or folder")
    }
    return try Tokenizer.load(path: path)
}

/// Group sizes, weights and the like: numbers separated by commas.
struct NumberList<Element: LosslessStringConvertible & Sendable>: ExpressibleByArgument, Sendable {
    let values: [Element]

    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false)
        values = parts.compactMap { Element(String($0)) }
        if values.count != parts.count || values.isEmpty { return nil }
    }
}

extension DecayStart: ExpressibleByArgument {
    /// "none" or a step.
    public init?(argument: String) {
        if argument == "none" {
            self = .never
        } else if let step = Int(argument) {
            self = .step(step)
        } else {
            return nil
        }
    }
}

extension BudgetScope: ExpressibleByArgument {}
extension AggregateScope: ExpressibleByArgument {}
extension DecoderBiasStart: ExpressibleByArgument {}
extension CoreDecoderStart: ExpressibleByArgument {}
extension CoreBiasStart: ExpressibleByArgument {}
extension CoreMode: ExpressibleByArgument {}
