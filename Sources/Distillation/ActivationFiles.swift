import Glibc
import Kernels
import LinearAlgebra
import TensorFiles

/// Activations [N, d] that other programs stored: `.npy` or safetensors files, one after the other, mapped and widened as they are read,
/// so that memory does not grow with them.
///
/// Shards of others hold texts in their order, and neighbours are alike. So an epoch permutes chunks of 64 rows over all files, as a
/// store does, and then single rows within pools of 256 chunks, which fit into the page cache of any machine. The order is a
/// function of (seed, epoch). What does not fill a chunk at the end is left out.
final class ActivationFiles: Sendable {
    /// The files, in order.
    let files: [String]
    let dIn: Int
    /// N.
    let rows: Int
    private let arrays: [StoredArray]
    /// First row of each file, and N.
    private let starts: [Int]

    static let chunkRows = ActivationStore.chunkRows
    static let poolChunks = 256

    /// Whether a path stands for such files, and not for a store or for one safetensors file, which is read whole: `.npy`, a pattern
    /// (`shards/*.npy`), or a folder without a store.
    static func areAt(_ path: String) -> Bool {
        var status = stat()
        guard stat(path, &status) == 0 else { return path.contains { "*?[".contains($0) } }
        return path.hasSuffix(".npy") || status.st_mode & S_IFMT == S_IFDIR && !ActivationStore.isAt(path)
    }

    /// Opens the files of a path as `areAt` knows them, in the order of their names.
    ///
    /// - Throws: `TensorFileError` for what is not there, is no matrix, or does not fit the first; `DistillationError.badStore` for half a
    ///   store.
    init(_ path: String) throws {
        files = try Self.files(path)
        arrays = try files.map(Self.array)
        dIn = arrays[0].shape[1]
        for array in arrays where array.shape[1] != arrays[0].shape[1] {
            throw TensorFileError.wrongShape(
                file: array.path, name: array.name, found: array.shape, wanted: [nil, arrays[0].shape[1]])
        }
        starts = arrays.reduce(into: [0]) { $0.append($0.last! + $1.shape[0]) }
        rows = starts.last!
        // The order of chunks is kept in 32 bits.
        guard rows / Self.chunkRows <= Int(Int32.max), dIn > 0 else {
            throw TensorFileError.unusable(
                file: path, what: "it has \(rows) rows of \(dIn) numbers", next: "give part of them, or harvest a store"
            )
        }
    }

    private static func files(_ path: String) throws -> [String] {
        var status = stat()
        var found: [String] = []
        if stat(path, &status) != 0 {
            var matches = glob_t()
            defer { globfree(&matches) }
            if glob(path, 0, nil, &matches) == 0 {
                found = (0..<Int(matches.gl_pathc)).compactMap { matches.gl_pathv[$0].map { String(cString: $0) } }
            }
        } else if status.st_mode & S_IFMT == S_IFDIR {
            // What a harvest leaves behind that was cut short is not the whole of it.
            guard !exists(ActivationStore.shardPath(path, 0)), !exists(HarvestedShards.path(in: path)) else {
                throw DistillationError.badStore(path: path, reason: "it was not finished")
            }
            found = try namesInFolder(path).filter { $0.hasSuffix(".npy") || $0.hasSuffix(".safetensors") }
                .map { path + "/" + $0 }
        } else {
            found = [path]
        }
        guard !found.isEmpty else {
            throw TensorFileError.unusable(
                file: path, what: "no .npy and no .safetensors file is there",
                next: "give a store, such files, or a pattern for them")
        }
        return found.sorted()
    }

    private static func array(_ path: String) throws -> StoredArray {
        let array: StoredArray
        if path.hasSuffix(".npy") {
            array = try StoredArray(numpy: path)
        } else {
            let file = try SafetensorsFile(path: path)
            array = try file.array(file.tensors.count == 1 ? file.tensors.keys.first! : "x")
        }
        guard array.type.isFloatingPoint else {
            throw TensorFileError.wrongType(
                file: path, name: array.name, found: array.type.rawValue, wanted: "F64, F32, F16 or BF16")
        }
        guard array.shape.count == 2 else {
            throw TensorFileError.wrongShape(file: path, name: array.name, found: array.shape, wanted: [nil, nil])
        }
        return array
    }

    /// √(mean ‖x‖²) over all rows.
    ///
    /// - Throws: `TensorFileError.malformed` for a row with NaN or infinity; `DistillationError.interrupted`, `.allZero`.
    func rootMeanSquareNorm(progress: any ProgressSink, stop: StopRequest) throws -> Double {
        progress.begin("check the activations", total: rows, unit: "rows")
        defer { progress.end() }
        let buffer = Matrix(rows: Self.chunkRows * Lanes.shared.count, columns: dIn)
        var square = 0.0
        for first in stride(from: 0, to: rows, by: buffer.rows) {
            try stop.check()
            let count = min(buffer.rows, rows - first)
            Lanes.shared.forRanges(count) { _, range in
                for i in range { self.read(first + i, into: buffer.row(i)) }
            }
            for i in 0..<count {
                let norm = Double(kernels.dot(buffer.row(i), buffer.row(i), dIn))
                guard norm.isFinite else {
                    let (file, row) = place(first + i)
                    throw TensorFileError.malformed(
                        file: files[file], what: "row \(row) holds NaN or infinity, or numbers beyond measure",
                        next: "check how it was made")
                }
                square += norm
            }
            progress.advance(by: count, detail: "")
        }
        guard square > 0 else { throw DistillationError.allZero(file: files[0]) }
        return (square / Double(rows)).squareRoot()
    }

    private func place(_ row: Int) -> (file: Int, row: Int) {
        var (low, high) = (0, arrays.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if starts[middle] <= row { low = middle } else { high = middle }
        }
        return (low, row - starts[low])
    }

    private func read(_ row: Int, into target: UnsafeMutablePointer<Float>) {
        let (file, own) = place(row)
        arrays[file].widen(own * dIn..<(own + 1) * dIn, into: target)
    }

    /// Fills batches of `size` rows, divided by `scale`.
    ///
    /// - Throws: `DistillationError.tooFewRows`.
    func batches(of size: Int, _ order: TrainingRows.Order, scale: Float) throws -> BatchSource {
        let usable = order == .ofFile ? rows : rows / Self.chunkRows * Self.chunkRows
        guard usable >= size else { throw DistillationError.tooFewRows(rows: usable, batch: size) }
        var shuffled: ShuffledRows?
        if case .shuffled(let seed) = order { shuffled = ShuffledRows(chunks: rows / Self.chunkRows, seed: seed) }
        return { [self] step, target in
            let chosen: [Int]
            if shuffled != nil {
                let perEpoch = usable / size
                chosen = shuffled!.rows(epoch: step / perEpoch, step % perEpoch * size, count: size)
            } else {
                chosen = (0..<size).map { (step * size + $0) % rows }
            }
            Lanes.shared.forRanges(size) { _, range in
                for i in range {
                    read(chosen[i], into: target.row(i))
                    kernels.scale(target.row(i), 1 / scale, dIn)
                }
            }
        }
    }
}

/// The order of rows in an epoch: chunks of 64 over all rows, then rows within pools of 256 chunks.
struct ShuffledRows {
    private let chunks: Int
    private let seed: UInt64
    private var epoch = -1
    private var chunkOrder: [Int32] = []
    private var pool = -1
    private var poolOrder: [Int32] = []

    init(chunks: Int, seed: UInt64) {
        self.chunks = chunks
        self.seed = seed
    }

    /// Rows at `count` places of an epoch from `first` on.
    mutating func rows(epoch: Int, _ first: Int, count: Int) -> [Int] {
        if epoch != self.epoch {
            (self.epoch, pool) = (epoch, -1)
            chunkOrder = CounterRandom(seed: seed, purpose: .epochShuffle, step: UInt32(truncatingIfNeeded: epoch))
                .permutation(chunks)
        }
        return (first..<first + count).map { row($0) }
    }

    private mutating func row(_ place: Int) -> Int {
        let (chunkRows, poolChunks) = (ActivationFiles.chunkRows, ActivationFiles.poolChunks)
        let (pool, within) = place.quotientAndRemainder(dividingBy: chunkRows * poolChunks)
        if pool != self.pool {
            self.pool = pool
            let pools = (chunks + poolChunks - 1) / poolChunks
            poolOrder = CounterRandom(
                seed: seed, purpose: .storeShuffle, step: UInt32(truncatingIfNeeded: epoch * pools + pool)
            ).permutation(min(poolChunks, chunks - pool * poolChunks) * chunkRows)
        }
        let (chunk, row) = Int(poolOrder[within]).quotientAndRemainder(dividingBy: chunkRows)
        return Int(chunkOrder[pool * poolChunks + chunk]) * chunkRows + row
    }
}
