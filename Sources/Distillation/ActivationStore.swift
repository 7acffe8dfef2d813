import Kernels
import LinearAlgebra
import TensorFiles

/// What a store holds and how it came about; `store.json`.
public struct ActivationStoreRecord: Codable, Sendable, Equatable {
    /// Version of this layout.
    public var format = 1
    /// d.
    public var dIn: Int
    /// Rows over all shards.
    public var rows: Int
    /// Rows of each shard, in order.
    public var shardRows: [Int]
    /// √(mean ‖x‖²) over all rows: what inputs are divided by in training.
    public var inputScale: Double
    /// Tokens run through the model.
    public var tokens: Int
    /// Of those, positions left out: first of a sequence or special.
    public var droppedSpecial: Int
    /// Positions left out as attention sinks.
    public var droppedSinks: Int
    /// The model, by file name.
    public var model: String
    /// The block whose output this is.
    public var layer: Int
    /// Tokens per sequence.
    public var contextLength: Int
    /// Seed of the shuffle.
    public var seed: UInt64
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
    private let shards: [SafetensorsFile]
    private let starts: [UnsafePointer<Float>]
    /// First row of each chunk as (shard, row).
    private let chunks: [(shard: Int32, row: Int32)]

    /// Rows that stay together.
    public static let chunkRows = 64

    /// Opens a store folder.
    ///
    /// - Throws: `TensorFileError` or `DistillationError.badStore`.
    public init(_ folder: String) throws {
        record = try JSONRecord.read(ActivationStoreRecord.self, from: folder + "/store.json")
        // Rows within a shard are counted in 32 bits; `inputScale` divides every batch.
        guard record.format == 1, record.dIn > 0, record.inputScale > 0, record.inputScale.isFinite,
            record.shardRows.allSatisfy({ (0...Int(Int32.max)).contains($0) }),
            record.shardRows.reduce(0, &+) == record.rows
        else {
            throw DistillationError.badStore(path: folder, reason: "store.json contradicts itself")
        }
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
