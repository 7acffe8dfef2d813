import Glibc
import LinearAlgebra

/// The entries of sparse codes ordered by latent (CSC), each with its gradient: what a latent's weight gradients are
/// sums over.
///
/// Source s of an entry says which row of `PrefixGradient.sources` its gradients are made of: the latent's prefix, or
/// the auxiliary residual for a dead latent.
final class LatentMajorCodes {
    private(set) var offsets: [Int] = []
    private(set) var rows: UnsafeMutablePointer<Int32> = allocateAligned(0)
    private(set) var values: UnsafeMutablePointer<Float> = allocateAligned(0)
    private(set) var deltas: UnsafeMutablePointer<Float> = allocateAligned(0)
    private var capacity = 0
    private var cursor: [Int] = []

    deinit {
        free(rows)
        free(values)
        free(deltas)
    }

    var count: Int { offsets.last ?? 0 }

    func entries(ofLatent j: Int) -> Range<Int> { offsets[j]..<offsets[j + 1] }

    /// Transposes the given codes, all [B, latents]; within a latent rows ascend. No latent may occur in two of
    /// them, so that a latent's entries have one source.
    func assemble(latents: Int, _ parts: [(codes: SparseCodes, deltas: UnsafePointer<Float>)]) {
        if offsets.count != latents + 1 {
            offsets = [Int](repeating: 0, count: latents + 1)
            cursor = [Int](repeating: 0, count: latents)
        }
        let total = parts.reduce(0) { $0 + $1.codes.count }
        reserve(total)
        offsets.withUnsafeMutableBufferPointer { offsets in
            offsets.update(repeating: 0)
            for part in parts {
                for e in 0..<part.codes.count { offsets[Int(part.codes.columnIndices[e]) + 1] += 1 }
            }
            for j in 0..<latents { offsets[j + 1] += offsets[j] }
            cursor.withUnsafeMutableBufferPointer { cursor in
                for j in 0..<latents { cursor[j] = offsets[j] }
                for part in parts {
                    for r in 0..<part.codes.rows {
                        for e in part.codes.entries(ofRow: r) {
                            let j = Int(part.codes.columnIndices[e])
                            let at = cursor[j]
                            cursor[j] = at + 1
                            rows[at] = Int32(truncatingIfNeeded: r)
                            values[at] = part.codes.values[e]
                            deltas[at] = part.deltas[e]
                        }
                    }
                }
            }
        }
    }

    /// Cuts the latents into contiguous ranges of about equal work, one per part: inner latents fire far more often
    /// than outer ones, so ranges of equal length would leave one lane with most of the work.
    func balancedRanges(_ parts: Int) -> [Range<Int>] {
        let latents = offsets.count - 1
        // A latent costs its entries plus a row of its own to write.
        let total = count + latents
        var ranges: [Range<Int>] = []
        var start = 0
        for part in 1...parts {
            let goal = total * part / parts
            var low = start
            var high = latents
            while low < high {
                let middle = (low + high) / 2
                if offsets[middle] + middle < goal { low = middle + 1 } else { high = middle }
            }
            let end = part == parts ? latents : low
            ranges.append(start..<end)
            start = end
        }
        return ranges
    }

    private func reserve(_ wanted: Int) {
        guard wanted > capacity else { return }
        free(rows)
        free(values)
        free(deltas)
        capacity = wanted + wanted / 4
        rows = allocateAligned(capacity)
        values = allocateAligned(capacity)
        deltas = allocateAligned(capacity)
    }
}
