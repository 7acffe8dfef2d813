import Kernels
import LinearAlgebra
import TensorFiles

/// What a store holds and how it came about; `store.json`.
public struct ActivationStoreRecord: Codable, Sendable, Equatable {
    /// Version of this layout.
    public var format = currentFormat
    /// d, numbers in a row of the residual stream.
    public var dIn: Int
    /// Rows over all shards.
    public var rows: Int
    /// Rows of each shard, in order.
    public var shardRows: [Int]
    /// SHA-256 of each shard's file, in order.
    public var shardHashes: [String]
    /// √(mean ‖x‖²) over all rows: what inputs are divided by in training.
    public var inputScale: Double
    /// Tokens run through the model.
    public var tokens: Int
    /// Tokens of the text that were passed over before them.
    public var skippedTokens: Int
    /// Of those, positions left out: first of a sequence or special.
    public var droppedSpecial: Int
    /// Positions left out as attention sinks.
    public var droppedSinks: Int
    /// Positions that are padding, where documents were not joined; nil for none.
    public var droppedPadding: Int?
    /// First positions of each sequence that are left out.
    public var keepFirst: Int
    /// Token ids that are left out, ascending.
    public var specialTokens: [Int32]
    /// Positions with a norm above this multiple of the median are left out as sinks; nil for none.
    public var sinkRatio: Float?
    /// The model, by file name.
    public var model: String
    /// The block.
    public var layer: Int
    /// Where in the block; nil for the residual stream after it.
    public var hook: HookPoint.Kind?
    /// Tokens per sequence.
    public var contextLength: Int
    /// Seed of the shuffle.
    public var seed: UInt64
    /// SHA-256 of model and text, by what they are for.
    public var hashes: [String: String]
    /// What else the rows depend on: sequences of a pass, whether bad lines were passed over. Nil in older stores.
    public var settings: [String: String]?
    /// SHA-256 of this record without this line, so that no edit goes unseen.
    public var seal = ""

    static let currentFormat = 2

    /// What its rows are.
    public var hookPoint: HookPoint { HookPoint(block: layer, hook ?? .residPost) }

    /// The record with its seal.
    package func sealed() throws -> ActivationStoreRecord {
        var result = self
        result.seal = ""
        result.seal = SHA256.hexadecimal(SHA256.digest(of: try JSONRecord.text(result)))
        return result
    }

    /// Reads one and checks what it says of itself.
    ///
    /// - Throws: `TensorFileError`; `DistillationError.badStore`.
    static func read(_ folder: String) throws -> ActivationStoreRecord {
        struct Version: Codable { var format: Int }
        let path = folder + "/store.json"
        func bad(_ reason: String) -> DistillationError { .badStore(path: folder, reason: reason) }
        let format = try JSONRecord.read(Version.self, from: path, allowingOtherKeys: true).format
        guard format == currentFormat else {
            throw bad("it is of format \(format), and this version of dmsae reads \(currentFormat)")
        }
        let record = try JSONRecord.read(ActivationStoreRecord.self, from: path)
        guard try record.sealed() == record else { throw bad("store.json is not as the harvest wrote it") }
        // Rows within a shard are counted in 32 bits; `inputScale` divides every batch.
        guard record.dIn > 0, record.inputScale > 0, record.inputScale.isFinite, record.layer >= 0,
            record.contextLength > 0, record.shardHashes.count == record.shardRows.count,
            record.shardRows.allSatisfy({ (0...Int(Int32.max)).contains($0) }),
            record.shardRows.reduce(0, &+) == record.rows
        else { throw bad("store.json contradicts itself") }
        return record
    }
}

/// Activations on disk: safetensors shards of rows x [rows, d], shuffled within a shard when written, memory-mapped
/// and read in an order shuffled again each epoch.
///
/// A corpus may be larger than memory, so no permutation of single rows is made: reading rows at random costs a disk
/// seek each. Instead an epoch permutes chunks of 64 rows over all shards; a batch of 2048 is 32 chunks from
/// anywhere, each of them rows from all over its shard. The order is a function of (seed, epoch): a restart needs no
/// reader state.
public final class ActivationStore: @unchecked Sendable {
    /// What is in it.
    public let record: ActivationStoreRecord
    private let folder: String
    private let shards: [SafetensorsFile]
    private let starts: [UnsafePointer<Float>]
    /// First row of each chunk as (shard, row).
    private let chunks: [(shard: Int32, row: Int32)]

    /// Rows that stay together.
    public static let chunkRows = 64

    /// Whether a store is in this folder.
    public static func isAt(_ folder: String) -> Bool { exists(folder + "/store.json") }

    /// Opens a store folder.
    ///
    /// - Throws: `TensorFileError` or `DistillationError.badStore`.
    public init(_ folder: String) throws {
        self.folder = folder
        record = try ActivationStoreRecord.read(folder)
        let record = record
        let files = try record.shardRows.indices.map { try SafetensorsFile(path: Self.shardPath(folder, $0)) }
        starts = try zip(files, record.shardRows).map { file, rows in
            _ = try file.require("x", shape: [rows, record.dIn])
            return try file.floatPointer("x")
        }
        shards = files
        chunks = record.shardRows.enumerated().flatMap { shard, rows in
            (0..<(rows / Self.chunkRows)).map { (Int32(shard), Int32($0 * Self.chunkRows)) }
        }
    }

    /// Checks every shard against its hash: to be done once, before anything is made of the store.
    ///
    /// - Throws: `DistillationError.badStore` naming the shard that is another; `.interrupted`.
    public func verify(progress: any ProgressSink, stop: StopRequest) throws {
        progress.begin("check the store", total: record.rows, unit: "rows")
        defer { progress.end() }
        for (index, (hash, rows)) in zip(record.shardHashes, record.shardRows).enumerated() {
            let path = Self.shardPath(folder, index)
            var (bytes, done) = (0, 0)
            let found = try SHA256.hexadecimal(ofFile: path) { count in
                try stop.check()
                bytes += count
                let reached = min(rows, bytes / (record.dIn * MemoryLayout<Float>.stride))
                progress.advance(by: reached - done, detail: "")
                done = reached
            }
            guard found == hash else {
                throw DistillationError.badStore(path: folder, reason: "\(path) was changed after the harvest")
            }
        }
    }

    package static func shardPath(_ folder: String, _ index: Int) -> String {
        let digits = String(index)
        return folder + "/shard-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits + ".safetensors"
    }

    /// Batches of `size` rows in one epoch; rows that do not fill a chunk or a batch are left out.
    public func batchesPerEpoch(_ size: Int) -> Int { chunks.count * Self.chunkRows / size }

    /// A reader of batches of `size` rows, a multiple of the chunk.
    ///
    /// - Throws: `DistillationError` when the store does not fill one batch.
    public func reader(batch size: Int, seed: UInt64) throws -> Reader {
        guard size % Self.chunkRows == 0 else {
            throw DistillationError.badValue(
                key: "train.batch", value: "\(size)", wanted: "a multiple of \(Self.chunkRows)")
        }
        guard batchesPerEpoch(size) > 0 else {
            throw DistillationError.tooFewRows(rows: chunks.count * Self.chunkRows, batch: size)
        }
        return Reader(store: self, size: size, seed: seed)
    }

    /// The rows of a chunk, which lie together.
    private func rows(ofChunk index: Int32) -> UnsafePointer<Float> {
        let chunk = chunks[Int(index)]
        return starts[Int(chunk.shard)] + Int(chunk.row) * record.dIn
    }

    /// Reads batch after batch, epoch after epoch, and asks the disk for the next one of the epoch while the training is
    /// at this one.
    public final class Reader {
        /// For benchmarks of what it is worth.
        package var readsAhead = true
        private let store: ActivationStore
        private let size: Int
        private let seed: UInt64
        private var epoch = -1
        private var order: [Int32] = []

        init(store: ActivationStore, size: Int, seed: UInt64) {
            self.store = store
            self.size = size
            self.seed = seed
        }

        /// Copies the batch of training step `step`, divided by `scale`, into `target` [size, d].
        public func read(step: Int, scale: Float, into target: Matrix) {
            let perEpoch = store.batchesPerEpoch(size)
            if step / perEpoch != epoch {
                epoch = step / perEpoch
                order = CounterRandom(seed: seed, purpose: .epochShuffle, step: UInt32(epoch))
                    .permutation(store.chunks.count)
            }
            let chunksPerBatch = size / ActivationStore.chunkRows
            let first = step % perEpoch * chunksPerBatch
            let d = store.record.dIn
            let count = ActivationStore.chunkRows * d
            Lanes.shared.forRanges(chunksPerBatch) { _, range in
                for i in range {
                    let destination = target.elements + i * count
                    destination.update(from: store.rows(ofChunk: order[first + i]), count: count)
                    kernels.scale(destination, 1 / scale, count)
                }
            }
            guard readsAhead, (step + 1) / perEpoch == epoch else { return }
            for i in (first + chunksPerBatch)..<(first + 2 * chunksPerBatch) {
                readAhead(store.rows(ofChunk: order[i]), count * MemoryLayout<Float>.stride)
            }
        }
    }
}
