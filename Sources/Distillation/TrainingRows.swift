import Kernels
import LinearAlgebra
import TensorFiles

/// Rows to train on: those of a store, of files of activations, or made live.
public struct TrainingRows {
    /// In which order a file is read; a store has its own.
    public enum Order: Equatable, Sendable {
        /// Shuffled again each epoch.
        case shuffled(seed: UInt64)
        /// Step i takes rows i·batch …, starting over at the end.
        case ofFile
    }

    /// d.
    public let dIn: Int
    /// What rows are divided by: √(mean ‖x‖²), or 1.
    public let scale: Float
    /// Of a store and of live activations.
    public let origin: ActivationOrigin?
    /// What they were read from; of a store its record, which has the hashes of all else.
    public let files: [String]
    /// Fills a batch.
    public let read: BatchSource
    /// Where checkpoints have to remember more of them than the step.
    public let batches: (any TrainingBatches)?

    /// Batches of `batch` rows of a store folder, of a safetensors file with x [N, d], or of what `ActivationFiles` finds.
    ///
    /// - Throws: `TensorFileError` and `DistillationError` for activations that are not there, damaged, too few or no numbers;
    ///   `DistillationError.interrupted`.
    public init(
        _ path: String, batch: Int, order: Order, isScaled: Bool, progress: any ProgressSink, stop: StopRequest
    ) throws {
        if ActivationStore.isAt(path) {
            try self.init(store: path, batch: batch, order: order, isScaled: isScaled, progress: progress, stop: stop)
        } else if ActivationFiles.areAt(path) {
            let files = try ActivationFiles(path)
            let norm = try files.rootMeanSquareNorm(progress: progress, stop: stop)
            try self.init(files, batch: batch, order: order, scale: isScaled ? Float(norm) : 1)
        } else {
            try self.init(file: path, batch: batch, order: order, isScaled: isScaled)
        }
    }

    /// Batches of live activations, whose scale was measured.
    public init(_ activations: LiveActivations, seed: UInt64, isScaled: Bool) {
        let factor = isScaled ? Float(activations.inputScale) : 1
        let batches = LiveBatches(activations, seed: seed)
        dIn = activations.dIn
        scale = factor
        origin = activations.origin
        files = []
        self.batches = batches
        read = { try batches.read(step: $0, scale: factor, into: $1) }
    }

    private init(_ activations: ActivationFiles, batch: Int, order: Order, scale: Float) throws {
        dIn = activations.dIn
        self.scale = scale
        origin = nil
        batches = nil
        files = activations.files
        read = try activations.batches(of: batch, order, scale: scale)
    }

    private init(
        store path: String, batch: Int, order: Order, isScaled: Bool, progress: any ProgressSink, stop: StopRequest
    ) throws {
        guard case .shuffled(let seed) = order else {
            preconditionFailure("a store has no order of a file")
        }
        guard batch % ActivationStore.chunkRows == 0 else {
            throw DistillationError.batchNotInChunks(batch: batch, chunk: ActivationStore.chunkRows)
        }
        let store = try ActivationStore(path)
        try store.verify(progress: progress, stop: stop)
        let reader = try store.reader(batch: batch, seed: seed)
        let factor = isScaled ? Float(store.record.inputScale) : 1
        dIn = store.record.dIn
        scale = factor
        origin = store.record.origin
        batches = nil
        files = [path + "/store.json"]
        read = { reader.read(step: $0, scale: factor, into: $1) }
    }

    private init(file path: String, batch: Int, order: Order, isScaled: Bool) throws {
        let file = try SafetensorsFile(path: path)
        let shape = try file.require("x", shape: [nil, nil]).shape
        // Their order is kept in 32 bits.
        guard shape[0] <= Int(Int32.max) else {
            throw TensorFileError.unusable(
                file: path, what: "x has \(shape[0]) rows, more than \(Int32.max)",
                next: "give part of them, or harvest a store")
        }
        let x = try file.finiteMatrix("x")
        guard shape[0] >= batch else { throw DistillationError.tooFewRows(rows: shape[0], batch: batch) }
        let norm = x.rootMeanSquareRowNorm
        guard norm > 0 else { throw DistillationError.allZero(file: path) }
        let factor = isScaled ? Float(norm) : 1
        dIn = shape[1]
        scale = factor
        origin = nil
        batches = nil
        files = [path]
        var shuffled: [Int32] = []
        var epoch = -1
        read = { step, target in
            let perEpoch = x.rows / batch
            if case .shuffled(let seed) = order, step / perEpoch != epoch {
                epoch = step / perEpoch
                shuffled = CounterRandom(seed: seed, purpose: .epochShuffle, step: UInt32(epoch)).permutation(x.rows)
            }
            for r in 0..<batch {
                let row =
                    order == .ofFile ? (step * batch + r) % x.rows : Int(shuffled[step % perEpoch * batch + r])
                target.row(r).update(from: x.row(row), count: x.columns)
                kernels.scale(target.row(r), 1 / factor, x.columns)
            }
        }
    }
}
