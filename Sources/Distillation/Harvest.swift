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

    /// Settings for `tokens` tokens.
    public init(tokens: Int, seed: UInt64, modelName: String) {
        self.tokens = tokens
        self.seed = seed
        self.modelName = modelName
    }
}

/// Runs text through a model and keeps the residual stream after one block, as an activation store.
///
/// Positions that a splice would keep as the model's own (first, special, attention sinks) are not stored: trained
/// on, their norms would own the loss. `store.json` is written last, so a store that was cut short is not one.
public struct Harvest {
    private let model: any LanguageModel
    private let layer: Int
    private let policy: SplicePolicy
    private let settings: HarvestSettings

    /// A harvest of the output of block `layer`.
    public init(model: any LanguageModel, layer: Int, policy: SplicePolicy, settings: HarvestSettings) {
        self.model = model
        self.layer = layer
        self.policy = policy
        self.settings = settings
    }

    /// Harvests until `next` has no more batches or enough tokens are in.
    ///
    /// - Throws: what the model and the file system throw; `DistillationError.interrupted`, `.textTooShort`.
    public func run(
        next: () throws -> TokenBatch?, to folder: String, progress: any ProgressSink, stop: StopRequest
    ) throws -> ActivationStore {
        try createFolder(folder)
        var shard = ShardWriter(folder: folder, dIn: model.configuration.dModel, settings: settings)
        var (tokens, special, sinks, length) = (0, 0, 0, 0)
        var square = 0.0
        progress.begin("harvest", total: settings.tokens, unit: "tokens")
        while tokens < settings.tokens, let batch = try next() {
            try stop.check()
            let x = try model.residual(of: batch, afterLayer: layer)
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
        guard tokens >= settings.tokens else {
            throw DistillationError.textTooShort(wanted: settings.tokens, found: tokens, purpose: "harvesting")
        }
        try shard.flush()
        let rows = shard.writtenRows.reduce(0, +)
        let record = ActivationStoreRecord(
            dIn: model.configuration.dModel, rows: rows, shardRows: shard.writtenRows,
            inputScale: rows > 0 ? (square / Double(rows)).squareRoot() : 1, tokens: tokens, droppedSpecial: special,
            droppedSinks: sinks, model: settings.modelName, layer: layer, contextLength: length, seed: settings.seed)
        try JSONRecord.write(record, to: folder + "/store.json")
        return try ActivationStore(folder)
    }
}

/// Gathers rows until a shard is full, shuffles them and writes them.
private struct ShardWriter {
    let folder: String
    let dIn: Int
    let settings: HarvestSettings
    private(set) var writtenRows: [Int] = []
    private let buffer: Matrix
    private var filled = 0

    init(folder: String, dIn: Int, settings: HarvestSettings) {
        self.folder = folder
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
        let stream = try SafetensorsStream(
            path: ActivationStore.shardPath(folder, index), [.init(name: "x", rows: filled, columns: dIn)])
        for source in order { try stream.append(buffer.row(Int(source)), rows: 1, to: "x") }
        try stream.finish()
        writtenRows.append(filled)
        filled = 0
    }
}
