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

    @Flag(
        help:
            "With --resume: go on with other lanes, processors or ranks, or on another device, than what is there was made on. What comes is then not the bits of an uninterrupted run, which is said and logged."
    )
    var elsewhere = false

    /// As the trainings want it.
    var policy: CheckpointPolicy {
        var policy = CheckpointPolicy(seconds: 60 * checkpointEvery)
        policy.goesOnElsewhere = elsewhere
        return policy
    }

    func validate() throws { try require("--checkpoint-every", checkpointEvery, in: 0...1e6) }

    /// For a command that goes on only where it is told to.
    func validate(resume: Bool) throws {
        if elsewhere && !resume { throw ValidationError("--elsewhere is about what --resume goes on with; give both") }
    }
}

/// The option of commands that can say what they will take.
struct DryRunOption: ParsableArguments {
    @Flag(
        help:
            "Say what it will take (tokens, disk, memory, time from a few batches and steps that are measured), and write nothing."
    )
    var dryRun = false

    /// Prints an estimate.
    func show(_ cost: CostEstimate, _ output: OutputOptions) throws {
        print(output.json ? try JSONRecord.text(cost) : cost.lines.joined(separator: "\n"))
    }
}

/// Options of commands whose training curves are logged.
struct LogOptions: ParsableArguments {
    /// What is written beside events.jsonl.
    enum Format: String, ExpressibleByArgument, CaseIterable { case tensorboard }

    @Option(
        help: ArgumentHelp(
            "Write the numbers of events.jsonl as event files too, which `tensorboard --logdir` of the output folder shows.",
            valueName: "tensorboard"))
    var log: Format?

    /// Seconds since 1970, where they are wanted.
    var boardClock: (@Sendable () -> Double)? { log == nil ? nil : { @Sendable in secondsSince1970() } }
}

/// Options of commands that splice into a language model.
struct SpliceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The first n positions of every sequence keep the model's own activation and are not scored (default: of an SAE that is used, "
                + "as it was trained; else 1)."))
    var keepFirst: Int?

    @Option(help: ArgumentHelp("Special tokens keep the model's own activation.", valueName: "yes|no"))
    var keepSpecial: Choice = .yes

    @Option(
        help: ArgumentHelp(
            "Positions with a norm above this multiple of the median are attention sinks and kept; off for none (default: of an "
                + "SAE that is used, as it was trained; else 10).", valueName: "RATIO|off"))
    var sinks: SinkRatio?

    @Option(
        help: ArgumentHelp(
            "Positions of these tokens count nowhere, like those of special ones: ids with commas between, or one token by its text. May "
                + "be repeated.", valueName: "TOKENS"))
    var excludeTokens: [String] = []

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
        guard firstKept >= 0 else { throw ValidationError("--keep-first is \(firstKept); it must be 0 or more") }
    }

    /// How many first positions are kept.
    var firstKept: Int { keepFirst ?? 1 }

    /// Above which multiple of the median norm positions are kept; nil for none.
    var sinkRatio: Float? { (sinks ?? SinkRatio(value: 10)).value }

    /// With the first positions and the sinks that an SAE's training left out, unless others are asked for, which is warned of: one
    /// row of a norm that it never saw can cost as much as all others together.
    func asTrained(_ sae: String, _ provenance: SAEProvenance) -> SpliceOptions {
        var options = self
        options.keepFirst = keepFirst ?? provenance.keepFirst
        options.sinks = sinks ?? provenance.sinks.map { SinkRatio(value: $0 == 0 ? nil : $0) }
        let asked = SplicePolicy(keepFirst: options.firstKept, sinkRatio: options.sinkRatio)
        for sentence in provenance.differences(of: sae, from: asked) { Terminal.shared.warn(sentence) }
        return options
    }

    /// For records.
    var recorded: [String: String] {
        [
            "keep_first": "\(firstKept)", "keep_special": keepSpecial.rawValue,
            "sinks": SinkRatio(value: sinkRatio).defaultValueDescription,
        ]
    }

    /// The policy for a model; special tokens are the tokenizer's, where there is one, and the configuration's.
    ///
    /// - Throws: `TextError.noSuchToken`.
    func policy(_ configuration: ModelConfiguration, tokenizer: Tokenizer?) throws -> SplicePolicy {
        SplicePolicy(
            keepFirst: firstKept,
            specialTokens: (keepSpecial == .yes ? configuration.specialTokens(with: tokenizer) : []).union(
                try Tokenizer.tokens(
                    named: excludeTokens, of: tokenizer, vocabularySize: configuration.vocabularySize)),
            sinkRatio: sinkRatio)
    }

    /// What was excluded, for records.
    ///
    /// - Throws: `TextError.noSuchToken`.
    func excluded(_ configuration: ModelConfiguration, tokenizer: Tokenizer?) throws -> [String: String] {
        if excludeTokens.isEmpty { return [:] }
        let ids = try Tokenizer.tokens(
            named: excludeTokens, of: tokenizer, vocabularySize: configuration.vocabularySize)
        return ["exclude_tokens": ids.sorted().map(String.init).joined(separator: ",")]
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
extension CandidateScope: ExpressibleByArgument {}
