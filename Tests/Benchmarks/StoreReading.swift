import Distillation
import Glibc
import LinearAlgebra

/// What a training step waits for its batch: from files in memory, and from the disk, with the batch asked for while the
/// step before computes and without.
struct StoreReading {
    let folder: String
    var batch = 2048

    func run() throws {
        let record = try ActivationStore(folder).record
        let x = Matrix(rows: batch, columns: record.dIn)
        // The product of a step with F = 16,384 takes the place of the step.
        let (weights, product) = (Matrix(rows: 16384, columns: record.dIn), Matrix(rows: batch, columns: 16384))
        print("\nbatches of \(batch) from \(record.rows) rows of \(record.dIn)")
        printRow("a step waits (median, mean, most)")
        for (name, isCold, readsAhead) in [
            ("in memory", false, true), ("on disk, read when needed", true, false), ("on disk, read ahead", true, true),
        ] {
            // What is mapped is not forgotten: only while no store is open.
            if isCold { evict(record) }
            let store = try ActivationStore(folder)
            let reader = try store.reader(batch: batch, seed: 1)
            reader.readsAhead = readsAhead
            let steps = store.batchesPerEpoch(batch)
            if !isCold { for step in 0..<steps { reader.read(step: step, scale: 1, into: x) } }
            var waits: [Double] = []
            for step in 0..<steps {
                let start = monotonicSeconds()
                reader.read(step: step, scale: 1, into: x)
                waits.append(monotonicSeconds() - start)
                Lanes.shared.multiply(x.view, weights.view.transposed, into: product.mutableView)
            }
            // The first has nothing before it.
            let rest = waits.dropFirst()
            let mean = rest.reduce(0, +) / Double(rest.count)
            printRow(name, milliseconds(medianOf(Array(rest))), milliseconds(mean), milliseconds(rest.max() ?? 0))
        }
        printRow("bytes of a batch", "\(number(Double(x.count * 4) / 1e6, 1)) MB")
    }

    /// Has the kernel forget what it keeps of the shards.
    private func evict(_ record: ActivationStoreRecord) {
        for i in record.shardRows.indices {
            let descriptor = open(ActivationStore.shardPath(folder, i), O_RDONLY)
            guard descriptor >= 0 else { continue }
            fsync(descriptor)
            posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
            close(descriptor)
        }
    }
}
