import ArgumentParser
import Distillation
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// Options of trainings whose activations a model makes as they are needed.
struct LiveOptions: ParsableArguments {
    @Option(help: "Hugging Face folder or .gguf file that makes activations of --text as the training needs them.")
    var model: String?
    @Option(help: "Block whose output is trained on, counted from 0.")
    var layer: Int?
    @OptionGroup var hook: HookOption
    @Option(help: RowOptions.help)
    var text: [String] = []
    @Option(
        help:
            "Tokens whose activations are shuffled at a time; more mix texts better, and take 4·d bytes each. Default \(LiveBlocks.standardTokens)."
    )
    var buffer: Int?
    @OptionGroup var rows: RowOptions
    @OptionGroup var splice: SpliceOptions

    /// - Throws: `ValidationError` for half of it, and for options without what they are about.
    func validate(activations: String?) throws {
        guard model != nil else {
            if let option = try given().first(where: \.isGiven)?.name {
                throw ValidationError("\(option) is about activations that --model makes; give one, or leave it out")
            }
            guard activations != nil else {
                throw ValidationError("missing what to train on; give --activations, or --model and --text")
            }
            return
        }
        guard activations == nil else {
            throw ValidationError("--activations are there already, and --model would make them; give one of them")
        }
        guard !text.isEmpty else { throw ValidationError("--model makes activations of a text; give --text") }
        _ = try hook.required(layer: layer)
        try require("--buffer", blocks.asked, in: min(rows.context, 1 << 24)...Int(Int32.max))
    }

    /// What would change activations that nothing makes; options that say what is so without them are none.
    private func given() throws -> [(name: String, isGiven: Bool)] {
        let usual = try RowOptions.parse([])
        return [
            ("--text", !text.isEmpty), ("--layer", layer != nil), ("--hook", hook.hook != nil),
            ("--buffer", buffer != nil), ("--context", rows.context != usual.context),
            ("--sequences", rows.sequences != usual.sequences), ("--skip", rows.skip != usual.skip),
            ("--skip-bad-lines", rows.reading.skipBadLines),
            ("--text-key", rows.reading.textKey != usual.reading.textKey),
            ("--token-type", rows.reading.tokenType != nil), ("--pack", rows.tokens.pack != .yes),
            ("--bos", rows.tokens.bos != nil), ("--parse-special", rows.tokens.parseSpecial),
            ("--keep-first", splice.firstKept != 1), ("--keep-special", splice.keepSpecial != .yes),
            ("--sinks", splice.sinkRatio != 10), ("--exclude-tokens", !splice.excludeTokens.isEmpty),
        ]
    }

    private var blocks: LiveBlocks {
        LiveBlocks(
            tokens: buffer ?? LiveBlocks.standardTokens, sequences: rows.sequences, context: rows.context)
    }

    /// The activations, before anything is made of them, and their text.
    ///
    /// - Throws: what reading model and text throws; `DistillationError.blockTooLarge`.
    func activations(on place: DeviceOptions) throws -> (activations: LiveActivations, text: Corpus) {
        guard let model else { throw ValidationError("missing what makes activations; give --model") }
        let corpus = try rows.reading.corpus(text)
        let tokenizer = try rows.tokenizer(model: model, for: corpus)
        let loaded = try place.languageModel(model)
        let origin = ActivationOrigin(
            model: lastComponent(model), hookPoint: try hook.required(layer: layer), contextLength: rows.context,
            policy: try splice.policy(loaded.configuration, tokenizer: tokenizer),
            hashes: try fileHashes([("model", modelFiles(model))] + corpus.roles("text")))
        var others = rows.recorded
        others["skipped tokens"] = "\(rows.skip)"
        others.merge(try splice.excluded(loaded.configuration, tokenizer: tokenizer)) { $1 }
        others.merge(loaded.deviceRecord) { $1 }
        let rows = rows
        let activations = try LiveActivations(
            of: {
                let data = try rows.dataset(of: corpus, tokenizer, loaded)
                return { try data.nextBatch(sequences: rows.sequences) }
            }, model: loaded, origin: origin, blocks: blocks, others: others, progress: Terminal.shared,
            stop: Interruption.request)
        return (activations, corpus)
    }
}
