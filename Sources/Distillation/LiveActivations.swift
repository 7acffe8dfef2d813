import Attribution
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// How much of a text is shuffled at a time.
public struct LiveBlocks: Sendable, Equatable {
    /// 64 batches of 2048: a block of SmolLM2's activations takes 300 MiB.
    public static let standardTokens = 1 << 17

    /// Tokens asked for.
    public var asked: Int
    /// Sequences per pass through the model.
    public var sequences: Int
    /// Tokens per sequence.
    public var context: Int

    public init(tokens: Int = standardTokens, sequences: Int, context: Int) {
        (asked, self.sequences, self.context) = (tokens, sequences, context)
    }

    /// Tokens of a block: whole passes through the model, since what counts as an attention sink is found in a pass.
    public var tokens: Int {
        let pass = sequences * context
        return (asked + pass - 1) / pass * pass
    }

    /// Memory of a block in activations of `dIn` numbers, and the order in which each of some trainings takes its rows.
    public func addMemory(to need: inout MemoryNeed, dIn: Int, trainings: Int = 1) {
        need.add("a block of activations", 4, tokens, dIn)
        need.add("a block of activations", 4, trainings, tokens)
    }
}

/// Activations that the model makes as a training needs them: nothing is stored, whatever the length of the text.
///
/// A text is cut into blocks: as many tokens as `LiveBlocks` says, or what is left of the text where it ends; after its end it begins
/// again. A block's rows are those that a harvest would store. They are in memory while a training goes through them in a
/// random order, each of them once, and then the next block takes their place. A block is a function of its place in the text
/// and its order one of (seed, number), so that whoever goes on makes one block again and has the bits it had.
public final class LiveActivations {
    /// What they are of.
    public let origin: ActivationOrigin
    /// d.
    public let dIn: Int
    /// How the text is cut.
    public let blocks: LiveBlocks
    var policy: SplicePolicy { origin.policy }
    private let model: any LanguageModel
    private let others: [String: String]
    private let progress: any ProgressSink
    private let stop: StopRequest
    private var text: RepeatedText
    private var measured: Double?
    private var buffer: Matrix?
    private var block: Block?
    private var saidEnd = false

    /// A block whose rows are in the buffer, in the order of the text.
    private struct Block {
        let start: TextPlace
        /// Where the next one starts.
        let end: TextPlace
        let rows: Int
    }

    /// Activations of the sequences that `text` opens, the same each time, in batches of `blocks.sequences`.
    ///
    /// - Parameter others: what else they depend on, for records.
    /// - Throws: `DistillationError.blockTooLarge`.
    public init(
        of text: @escaping () throws -> TokenSource, model: any LanguageModel, origin: ActivationOrigin,
        blocks: LiveBlocks, others: [String: String], progress: any ProgressSink, stop: StopRequest
    ) throws {
        // The order of rows is kept in 32 bits.
        guard blocks.tokens <= Int(Int32.max) else { throw DistillationError.blockTooLarge(tokens: blocks.tokens) }
        self.text = RepeatedText(text)
        (self.model, self.origin, self.blocks) = (model, origin, blocks)
        (self.others, self.progress, self.stop) = (others, progress, stop)
        dIn = model.configuration.dModel
    }

    /// All that the rows depend on but for the hashes, for records.
    public var settings: [String: String] {
        others.merging([
            "rows": "live", "tokens of a block": "\(blocks.tokens)", "sequences": "\(blocks.sequences)",
            "first positions left out": "\(policy.keepFirst)",
            "special tokens": policy.specialTokens.sorted().map(String.init).joined(separator: ","),
            "ratio of sinks": policy.sinkRatio.map { "\($0)" } ?? "none",
        ]) { $1 }
    }

    /// √(mean ‖x‖²) over the first block; measured when it is first asked for, and not where it is known from before.
    ///
    /// - Throws: what `rows` throws; `DistillationError.nothingHarvested`, `.allZero`.
    public func measureScale(known: Double? = nil) throws {
        guard measured == nil else { return }
        if let known {
            measured = known
            return
        }
        progress.begin("make the first block", total: blocks.tokens, unit: "tokens")
        defer { progress.end() }
        var (square, outlying) = (0.0, OutlyingRows())
        let rows = try makeBlock(at: TextPlace()) { batch, r in
            square += batch.square(r)
            if batch.outlying.contains(r) { outlying.count += 1 }
        }.rows
        let scale = (square / Double(rows)).squareRoot()
        guard scale > 0, scale.isFinite else {
            throw DistillationError.allZero(file: "\(origin.model) at \(origin.hookPoint.name)")
        }
        measured = scale
        if let warning = outlying.warning(among: rows) { progress.warn(warning) }
    }

    /// How fast they are made here, on the first batches of the text.
    ///
    /// - Throws: as `Calibration`.
    public func calibration() throws -> Calibration {
        var text = text
        return try Calibration(
            model, at: origin.hookPoint, policy, on: { try text.next() }, progress: progress, stop: stop)
    }

    /// The rows of the block at a place of the text: how many there are, and where the next block starts.
    ///
    /// - Throws: what the model and the text throw; `DistillationError.interrupted`, `.notFinite`, `.badPlace`.
    func rows(at start: TextPlace) throws -> (count: Int, end: TextPlace) {
        let block = try block?.start == start ? block! : makeBlock(at: start) { _, _ in }
        return (block.rows, block.end)
    }

    /// Rows of the block at a place of the text if it is the one in memory, and none has to be made for them; else nil.
    func rowsInMemory(at start: TextPlace) -> Int? { block?.start == start ? block?.rows : nil }

    /// A row of the block that was asked for last.
    func row(_ r: Int) -> UnsafePointer<Float> { UnsafePointer(buffer!.row(r)) }

    private func makeBlock(at start: TextPlace, _ onRow: (HarvestedBatch, Int) -> Void) throws -> Block {
        block = nil
        let buffer = buffer ?? Matrix(rows: blocks.tokens, columns: dIn)
        self.buffer = buffer
        try text.go(to: start, check: stop.check)
        var (rows, tokens) = (0, 0)
        while tokens < blocks.tokens {
            try stop.check()
            guard let batch = try nextBatch(isFirst: tokens == 0) else { break }
            let harvested = try HarvestedBatch(
                batch, model, at: origin.hookPoint, policy, token: text.place.tokens - batch.ids.count)
            for r in harvested.fates.indices where harvested.fates[r] == .row {
                buffer.row(rows).update(from: harvested.x.row(r), count: dIn)
                onRow(harvested, r)
                rows += 1
            }
            tokens += batch.ids.count
            progress.advance(
                by: measured == nil ? batch.ids.count : 0, detail: "a block: \(100 * tokens / blocks.tokens)%")
        }
        // What is left at the end of a text may be first positions alone.
        guard rows > 0 || start != TextPlace() else { throw DistillationError.nothingHarvested(tokens: tokens) }
        let made = Block(start: start, end: text.place, rows: rows)
        block = made
        return made
    }

    /// The text's next batch, nil where it ends; a block does not begin with an end.
    private func nextBatch(isFirst: Bool) throws -> TokenBatch? {
        let used = text.place.tokens
        if let batch = try text.next() { return batch }
        if !saidEnd && used > 0 {
            saidEnd = true
            progress.warn(
                "all \(used) tokens of the text have been used; the training goes on with them from their start, give more text to "
                    + "train on each once")
        }
        guard isFirst else { return nil }
        guard used > 0, let batch = try text.next() else {
            throw DistillationError.textTooShort(wanted: blocks.context, found: 0, purpose: "training")
        }
        return batch
    }
}

extension LiveActivations: ActivationSource {
    /// - Precondition: it was measured.
    public var inputScale: Double {
        guard let measured else { preconditionFailure("the scale of live activations was not measured") }
        return measured
    }

    public var order: String { "live, shuffled in blocks of \(blocks.tokens) tokens" }

    func batches(of size: Int, seed: UInt64) -> any TrainingBatches { LiveBatches(self, seed: seed) }
}
