import Attribution
import Kernels
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// What to harvest.
public struct HarvestSettings: Sendable {
    /// Tokens to run through the model.
    public var tokens: Int
    /// Rows per shard, held in memory while the shard fills.
    public var shardRows = 65_536
    /// Seed of the shuffle.
    public var seed: UInt64
    /// The model's name for the record.
    public var modelName: String
    /// Tokens of the text that were passed over, for the record.
    public var skippedTokens = 0
    /// SHA-256 of model and text by what they are for, for the record.
    public var hashes: [String: String] = [:]
    /// What else the rows depend on, for the record: sequences of a pass, among whose norms sinks stand out.
    public var others: [String: String] = [:]
    /// Whether a text with fewer tokens than asked for is an error; else they are what is harvested.
    public var needsAllTokens = true

    /// Settings for `tokens` tokens.
    public init(tokens: Int, seed: UInt64, modelName: String) {
        self.tokens = tokens
        self.seed = seed
        self.modelName = modelName
    }
}

/// Runs text through a model and keeps the activations at one hook point, as an activation store.
///
/// Positions that a splice would keep as the model's own (first, special, attention sinks) are not stored: trained
/// on, their norms would own the loss. `store.json` is written last, so a store that was cut short is not one.
public struct Harvest {
    private let model: any LanguageModel
    private let hook: HookPoint
    private let policy: SplicePolicy
    private let settings: HarvestSettings

    /// A harvest of the activations at `hook`.
    public init(model: any LanguageModel, hook: HookPoint, policy: SplicePolicy, settings: HarvestSettings) {
        self.model = model
        self.hook = hook
        self.policy = policy
        self.settings = settings
    }

    /// Harvests until `next` has no more batches or enough tokens are in.
    ///
    /// - Parameter lock: of the folder or the one around it; nil where nobody else can write there.
    /// - Throws: what the model and the file system throw; `DistillationError.interrupted`, `.textTooShort`,
    ///   `.nothingHarvested`; `OutputLockError` when the folder is not the one it was.
    public func run(
        next: () throws -> TokenBatch?, to folder: String, lock: OutputLock? = nil, progress: any ProgressSink,
        stop: StopRequest
    ) throws -> ActivationStore {
        try createFolder(folder)
        var shard = ShardWriter(
            folder: folder, dIn: model.configuration.dModel, settings: settings, lock: lock)
        var (tokens, special, sinks, length) = (0, 0, 0, 0)
        var square = 0.0
        progress.begin("harvest", total: settings.tokens, unit: "tokens")
        while tokens < settings.tokens, let batch = try next() {
            try stop.check()
            let x = try model.residual(of: batch, at: hook)
            guard x.isFinite else { throw DistillationError.notFinite(hook: hook, token: tokens) }
            let replaced = policy.replaced(batch, residual: x)
            var noSinks = policy
            noSinks.sinkRatio = nil
            let unspecial = noSinks.replaced(batch, residual: x)
            for r in 0..<x.rows {
                if replaced[r] != 0 {
                    square += Double(kernels.dot(x.row(r), x.row(r), x.columns))
                    try shard.append(x.row(r))
                } else if unspecial[r] == 0 {
                    special += 1
                } else {
                    sinks += 1
                }
            }
            tokens += batch.ids.count
            length = batch.length
            progress.advance(by: batch.ids.count, detail: "")
        }
        progress.end()
        guard tokens >= settings.tokens || !settings.needsAllTokens else {
            throw DistillationError.textTooShort(wanted: settings.tokens, found: tokens, purpose: "harvesting")
        }
        try shard.flush()
        let rows = shard.writtenRows.reduce(0, +)
        guard rows > 0 else { throw DistillationError.nothingHarvested(tokens: tokens) }
        let scale = (square / Double(rows)).squareRoot()
        guard scale > 0, scale.isFinite else { throw DistillationError.allZero(file: folder) }
        let record = ActivationStoreRecord(
            dIn: model.configuration.dModel, rows: rows, shardRows: shard.writtenRows, shardHashes: shard.hashes,
            inputScale: scale, tokens: tokens, skippedTokens: settings.skippedTokens, droppedSpecial: special,
            droppedSinks: sinks, keepFirst: policy.keepFirst, specialTokens: policy.specialTokens.sorted(),
            sinkRatio: policy.sinkRatio, model: settings.modelName, layer: hook.block, hook: hook.recordedKind,
            contextLength: length,
            seed: settings.seed, hashes: settings.hashes, settings: settings.others)
        try lock?.requireInPlace()
        try JSONRecord.write(try record.sealed(), to: folder + "/store.json")
        return try ActivationStore(folder)
    }
}

/// Gathers rows until a shard is full, shuffles them and writes them.
private struct ShardWriter {
    let folder: String
    let dIn: Int
    let settings: HarvestSettings
    let lock: OutputLock?
    private(set) var writtenRows: [Int] = []
    private(set) var hashes: [String] = []
    private let buffer: Matrix
    private var filled = 0

    init(folder: String, dIn: Int, settings: HarvestSettings, lock: OutputLock?) {
        self.folder = folder
        self.lock = lock
        self.dIn = dIn
        self.settings = settings
        buffer = Matrix(rows: min(settings.shardRows, settings.tokens), columns: dIn)
    }

    mutating func append(_ row: UnsafePointer<Float>) throws {
        if filled == buffer.rows { try flush() }
        buffer.row(filled).update(from: row, count: dIn)
        filled += 1
    }

    mutating func flush() throws {
        guard filled > 0 else { return }
        let index = writtenRows.count
        let order = CounterRandom(seed: settings.seed, purpose: .storeShuffle, step: UInt32(index))
            .permutation(filled)
        let path = ActivationStore.shardPath(folder, index)
        try lock?.requireInPlace()
        let stream = try SafetensorsStream(path: path, [.init(name: "x", rows: filled, columns: dIn)])
        for source in order { try stream.append(buffer.row(Int(source)), rows: 1, to: "x") }
        try stream.finish()
        hashes.append(try SHA256.hexadecimal(ofFile: path))
        writtenRows.append(filled)
        filled = 0
    }
}
