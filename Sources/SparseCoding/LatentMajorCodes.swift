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
    private let lanes: Lanes
    /// [lanes, latents]: entries of a latent that a lane found in its rows, then where its next one goes.
    private var cursors = [Int32]()

    init(lanes: Lanes) { self.lanes = lanes }

    deinit {
        free(rows)
        free(values)
        free(deltas)
    }

    var count: Int { offsets.last ?? 0 }

    func entries(ofLatent j: Int) -> Range<Int> { offsets[j]..<offsets[j + 1] }

    /// Transposes the given codes, all [B, latents]; within a latent rows ascend. No latent may occur in two of
    /// them, so that a latent's entries have one source.
    ///
    /// Each lane counts its rows, and then writes them from where the lanes before it will stop.
    func assemble(latents: Int, _ parts: [(codes: SparseCodes, deltas: UnsafePointer<Float>)]) {
        if offsets.count != latents + 1 {
            offsets = [Int](repeating: 0, count: latents + 1)
            cursors = [Int32](repeating: 0, count: latents * lanes.count)
        }
        let batch = parts.first?.codes.rows ?? 0
        reserve(parts.reduce(0) { $0 + $1.codes.count })
        cursors.withUnsafeMutableBufferPointer { cursors in
            cursors.update(repeating: 0)
            let cursors = SendablePointer(cursors.baseAddress!)
            lanes.forRanges(batch) { lane, range in
                let own = cursors.pointer + lane * latents
                for part in parts {
                    let (codes, columns) = (part.codes, part.codes.columnIndices)
                    for e in Int(codes.rowOffsets[range.lowerBound])..<Int(codes.rowOffsets[range.upperBound]) {
                        own[Int(columns[e])] &+= 1
                    }
                }
            }
            var at = 0
            for j in 0..<latents {
                offsets[j] = at
                for lane in 0..<lanes.count {
                    let found = cursors.pointer[lane * latents + j]
                    cursors.pointer[lane * latents + j] = Int32(truncatingIfNeeded: at)
                    at += Int(found)
                }
            }
            offsets[latents] = at
            precondition(at <= Int32.max, "\(at) entries in a batch")
            lanes.forRanges(batch) { lane, range in
                for part in parts { scatter(part.codes, part.deltas, rows: range, cursors.pointer + lane * latents) }
            }
        }
    }

    private func scatter(
        _ codes: SparseCodes, _ deltas: UnsafePointer<Float>, rows range: Range<Int>,
        _ cursor: UnsafeMutablePointer<Int32>
    ) {
        let (rows, values, ownDeltas) = (rows, values, self.deltas)
        let (columns, found) = (codes.columnIndices, codes.values)
        for r in range {
            for e in codes.entries(ofRow: r) {
                let j = Int(columns[e])
                let at = Int(cursor[j])
                cursor[j] &+= 1
                rows[at] = Int32(truncatingIfNeeded: r)
                values[at] = found[e]
                ownDeltas[at] = deltas[e]
            }
        }
    }

    /// Cuts `latents` into contiguous ranges of about equal work, one per part: inner latents fire far more often than
    /// outer ones, so ranges of equal length would leave one lane with most of the work.
    func balancedRanges(_ parts: Int, of latents: Range<Int>) -> [Range<Int>] {
        // A latent costs its entries plus a row of its own to write.
        func work(before j: Int) -> Int { offsets[j] + j }
        let first = work(before: latents.lowerBound), total = work(before: latents.upperBound) - first
        var ranges: [Range<Int>] = []
        var start = latents.lowerBound
        for part in 1...parts {
            let goal = first + total * part / parts
            var (low, high) = (start, latents.upperBound)
            while low < high {
                let middle = (low + high) / 2
                if work(before: middle) < goal { low = middle + 1 } else { high = middle }
            }
            let end = part == parts ? latents.upperBound : low
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
