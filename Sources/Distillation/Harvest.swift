import Attribution
import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// What to harvest.
public struct HarvestSettings: Sendable {
    /// Tokens to run through the model.
    public var tokens: Int
    /// Rows per shard, held in memory while the shard fills.
    public var shardRows = standardShardRows
    /// Rows per shard, where nobody asks for others.
    public static let standardShardRows = 65_536
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
    /// How often the rows of a shard that is not full are kept.
    public var checkpoints = CheckpointPolicy()
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
/// `store.json` is written last, so a store that was cut short is not one.
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

    /// Tokens that a harvest into `folder` that was cut short had gone through when it was last kept; nil where there is none.
    public static func tokensDone(in folder: String) -> Int? {
        let path = HarvestedShards.path(in: folder)
        guard !ActivationStore.isAt(folder), exists(path) else { return nil }
        return (try? JSONRecord.read(HarvestedShards.self, from: path))?.last.tokens ?? 0
    }

    /// Harvests until `next` has no more batches or enough tokens are in; goes on after what a harvest of the same left in the
    /// folder.
    ///
    /// - Parameters:
    ///   - next: batches from the start of the text, the same each time.
    ///   - lock: of the folder or the one around it; nil where nobody else can write there.
    /// - Throws: what the model and the file system throw; `DistillationError.interrupted`, `.textTooShort`,
    ///   `.nothingHarvested`, `.startedOtherwise`; `OutputLockError` when the folder is not the one it was.
    public func run(
        next: () throws -> TokenBatch?, to folder: String, lock: OutputLock? = nil, progress: any ProgressSink,
        stop: StopRequest
    ) throws -> ActivationStore {
        try createFolder(folder)
        let left = try HarvestedShards.left(
            in: folder, causes: causes, goesOnElsewhere: settings.checkpoints.goesOnElsewhere, warn: progress.warn)
        var shards = try ShardWriter(
            folder: folder, dIn: model.configuration.dModel, settings: settings, lock: lock, left: left)
        let start = left.last
        var kept = settings.checkpoints.clock()
        var (tokens, special, sinks, padding, length) = (0, start.special, start.sinks, 0, 0)
        var square = start.square
        var outlying = OutlyingRows(count: start.outlying ?? 0)
        progress.begin("harvest", total: settings.tokens, unit: "tokens")
        while tokens < settings.tokens, let batch = try next() {
            if tokens > start.tokens,
                stop.isRaised || settings.checkpoints.clock() - kept >= settings.checkpoints.seconds
            {
                try shards.keep(
                    HarvestedShards.Mark(
                        tokens: tokens, special: special, sinks: sinks, outlying: outlying.count, square: square))
                kept = settings.checkpoints.clock()
            }
            try stop.check()
            defer {
                tokens += batch.ids.count
                padding += batch.paddingCount
                length = batch.length
                progress.advance(by: batch.ids.count, detail: "")
            }
            if tokens + batch.ids.count <= start.tokens { continue }
            let harvested = try HarvestedBatch(batch, model, at: hook, policy, token: tokens)
            for r in (tokens == start.tokens ? start.position : 0)..<harvested.x.rows {
                switch harvested.fates[r] {
                case .row:
                    if shards.isFull {
                        try shards.flush(
                            HarvestedShards.Mark(
                                tokens: tokens, position: r, special: special, sinks: sinks,
                                outlying: outlying.count, square: square))
                    }
                    square += harvested.square(r)
                    if harvested.outlying.contains(r) { outlying.count += 1 }
                    shards.append(harvested.x.row(r))
                case .special: special += 1
                case .sink: sinks += 1
                case .padding: break
                }
            }
        }
        progress.end()
        guard tokens >= settings.tokens || !settings.needsAllTokens else {
            throw DistillationError.textTooShort(wanted: settings.tokens, found: tokens, purpose: "harvesting")
        }
        try shards.flush(nil)
        let rows = shards.rows.reduce(0, +)
        guard rows > 0 else { throw DistillationError.nothingHarvested(tokens: tokens) }
        let scale = (square / Double(rows)).squareRoot()
        guard scale > 0, scale.isFinite else { throw DistillationError.allZero(file: folder) }
        if let warning = outlying.warning(among: rows) { progress.warn(warning) }
        let record = ActivationStoreRecord(
            dIn: model.configuration.dModel, rows: rows, shardRows: shards.rows, shardHashes: shards.hashes,
            inputScale: scale, tokens: tokens, skippedTokens: settings.skippedTokens, droppedSpecial: special,
            droppedSinks: sinks, droppedPadding: padding > 0 ? padding : nil, keepFirst: policy.keepFirst,
            specialTokens: policy.specialTokens.sorted(),
            sinkRatio: policy.sinkRatio, model: settings.modelName, layer: hook.block, hook: hook.recordedKind,
            contextLength: length,
            seed: settings.seed, hashes: settings.hashes, settings: settings.others)
        try lock?.requireInPlace()
        try JSONRecord.write(try record.sealed(), to: folder + "/store.json")
        HarvestedShards.clear(folder)
        return try ActivationStore(folder)
    }

    /// All that the rows depend on.
    private var causes: Causes {
        let settings = settings
        return Causes(settings.hashes.merging(Causes.machine) { $1 }).with(settings.others).with([
            "hook": hook.name, "tokens": "\(settings.tokens)", "rows of a shard": "\(settings.shardRows)",
            "seed": "\(settings.seed)", "skipped tokens": "\(settings.skippedTokens)",
            "first positions left out": "\(policy.keepFirst)",
            "special tokens": "\(policy.specialTokens.sorted())", "ratio of sinks": "\(policy.sinkRatio ?? 0)",
        ])
    }
}

/// Gathers rows until a shard is full, shuffles them and writes them.
private struct ShardWriter {
    let folder: String
    let dIn: Int
    let settings: HarvestSettings
    let lock: OutputLock?
    private(set) var rows: [Int]
    private(set) var hashes: [String]
    private var done: HarvestedShards
    private let buffer: Matrix
    private var filled = 0

    /// A writer of what comes after the rows that are there.
    ///
    /// - Throws: `TensorFileError` for kept rows that cannot be read.
    init(folder: String, dIn: Int, settings: HarvestSettings, lock: OutputLock?, left: HarvestedShards) throws {
        self.folder = folder
        self.lock = lock
        self.dIn = dIn
        self.settings = settings
        done = left
        (rows, hashes) = (left.marks.map(\.rows), left.marks.map(\.sha256))
        buffer = Matrix(rows: min(settings.shardRows, settings.tokens), columns: dIn)
        guard let unfinished = left.unfinished else { return }
        let file = try SafetensorsFile(path: HarvestedShards.path(of: unfinished, in: folder))
        _ = try file.require("x", shape: [unfinished.rows, dIn])
        buffer.elements.update(from: try file.floatPointer("x"), count: unfinished.rows * dIn)
        filled = unfinished.rows
    }

    var isFull: Bool { filled == buffer.rows }

    mutating func append(_ row: UnsafePointer<Float>) {
        buffer.row(filled).update(from: row, count: dIn)
        filled += 1
    }

    /// Writes the shard, and where the harvest is then; nil for its end.
    mutating func flush(_ mark: HarvestedShards.Mark?) throws {
        guard filled > 0 else { return }
        let index = rows.count
        let order = CounterRandom(seed: settings.seed, purpose: .storeShuffle, step: UInt32(index))
            .permutation(filled)
        let path = ActivationStore.shardPath(folder, index)
        try lock?.requireInPlace()
        let stream = try SafetensorsStream(path: path, [.init(name: "x", rows: filled, columns: dIn)])
        for source in order { try stream.append(buffer.row(Int(source)), rows: 1, to: "x") }
        try stream.finish()
        hashes.append(try SHA256.hexadecimal(ofFile: path))
        rows.append(filled)
        if var mark {
            (mark.rows, mark.sha256) = (filled, hashes[index])
            done.marks.append(mark)
            done.unfinished = nil
            try done.write(to: folder)
            HarvestedShards.removeUnfinished(but: nil, in: folder)
        }
        filled = 0
    }

    /// Keeps the rows of the shard that is not full, in the order in which they came, and where the harvest is.
    mutating func keep(_ mark: HarvestedShards.Mark) throws {
        var mark = mark
        mark.rows = filled
        let path = HarvestedShards.path(of: mark, in: folder)
        try lock?.requireInPlace()
        let stream = try SafetensorsStream(path: path, [.init(name: "x", rows: filled, columns: dIn)])
        try stream.append(buffer.elements, rows: filled, to: "x")
        try stream.finish()
        mark.sha256 = try SHA256.hexadecimal(ofFile: path)
        done.unfinished = mark
        try done.write(to: folder)
        HarvestedShards.removeUnfinished(but: mark, in: folder)
    }
}
