import Glibc
import Kernels
import LinearAlgebra

/// The entries of sparse codes ordered by latent (CSC), each with its gradient: what a latent's weight gradients are
/// sums over.
final class LatentMajorCodes {
    private(set) var latentCount = 0
    private(set) var values: UnsafeMutablePointer<Float> = allocateAligned(0)
    /// ∂L/∂f of each entry, once `sumProducts` has run.
    private(set) var deltas: UnsafeMutablePointer<Float> = allocateAligned(0)
    private var rows: UnsafeMutablePointer<Int32> = allocateAligned(0)
    /// [latents + 1]
    private var offsets: UnsafeMutablePointer<Int> = allocateAligned(1)
    /// [latents] where the rows of the first half of the lanes end.
    private var middles: UnsafeMutablePointer<Int> = allocateAligned(0)
    private var capacity = 0
    private let lanes: Lanes
    /// [lanes, latents]: entries of a latent that a lane found in its rows, then where its next one goes.
    private var cursors = [Int32]()

    init(lanes: Lanes) {
        self.lanes = lanes
        offsets[0] = 0
    }

    deinit {
        free(rows)
        free(values)
        free(deltas)
        free(offsets)
        free(middles)
    }

    var count: Int { offsets[latentCount] }

    func entries(ofLatent j: Int) -> Range<Int> { offsets[j]..<offsets[j + 1] }

    /// Entries of latent j above 0.
    func activeCount(_ j: Int) -> Int32 {
        var count: Int32 = 0
        for e in entries(ofLatent: j) { count += values[e] > 0 ? 1 : 0 }
        return count
    }

    /// The entries of some latents with their values, for kernels.
    func valued(_ latents: Range<Int>) -> LatentEntries {
        LatentEntries(starts: offsets, ends: offsets + 1, rows: rows, values: values, latents: latents)
    }

    /// The same with ∂L/∂f in the place of values.
    func differentiated(_ latents: Range<Int>) -> LatentEntries {
        LatentEntries(starts: offsets, ends: offsets + 1, rows: rows, values: deltas, latents: latents)
    }

    /// The same as `valued`, in two halves of the batch if a panel of `bytes` bytes is so large that what is added to all of it
    /// is pushed out of the second-level cache before it is met again. Each row's entries keep their order, and sums their bits.
    func valuedByHalves(_ latents: Range<Int>, bytes: Int) -> [LatentEntries] {
        // A parameter's row is then read twice, which few entries do not make up for.
        guard lanes.count > 1, bytes > ColumnPanels.addedBytes, count >= 32 * latentCount else {
            return [valued(latents)]
        }
        return [
            LatentEntries(starts: offsets, ends: middles, rows: rows, values: values, latents: latents),
            LatentEntries(starts: middles, ends: offsets + 1, rows: rows, values: values, latents: latents),
        ]
    }

    /// Where a lane adds up ⟨S_b, W_dec,j⟩ over its columns; zero after `assemble`.
    func products(lane: Int) -> UnsafeMutablePointer<Float> { deltas + lane * capacity }

    /// Becomes the transpose of `codes`; within a latent rows ascend. Entry e of them goes to `places[e]`, if asked.
    ///
    /// Each lane counts its rows, and then writes them from where the lanes before it will stop.
    func assemble(_ codes: SparseCodes, places: UnsafeMutablePointer<Int>? = nil) {
        let latents = codes.columns
        reserve(codes.count, latents)
        nonisolated(unsafe) let places = places
        cursors.withUnsafeMutableBufferPointer { cursors in
            cursors.update(repeating: 0)
            let cursors = SendablePointer(cursors.baseAddress!)
            lanes.forRanges(codes.rows) { lane, range in
                let (own, columns) = (cursors.pointer + lane * latents, codes.columnIndices)
                for e in Int(codes.rowOffsets[range.lowerBound])..<Int(codes.rowOffsets[range.upperBound]) {
                    own[Int(columns[e])] &+= 1
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
            lanes.forRanges(codes.rows) { lane, range in
                scatter(codes, rows: range, cursors.pointer + lane * latents, places)
            }
            if lanes.count > 1 {
                let last = cursors.pointer + (lanes.count / 2 - 1) * latents
                for j in 0..<latents { middles[j] = Int(last[j]) }
            }
        }
        lanes.run { products(lane: $0).update(repeating: 0, count: count) }
    }

    private func scatter(
        _ codes: SparseCodes, rows range: Range<Int>, _ cursor: UnsafeMutablePointer<Int32>,
        _ places: UnsafeMutablePointer<Int>?
    ) {
        let (rows, values) = (rows, values)
        let (columns, found) = (codes.columnIndices, codes.values)
        for r in range {
            for e in codes.entries(ofRow: r) {
                let j = Int(columns[e])
                let at = Int(cursor[j])
                cursor[j] &+= 1
                rows[at] = Int32(truncatingIfNeeded: r)
                values[at] = found[e]
                places?[e] = at
            }
        }
    }

    /// Adds up what the lanes found: `deltas` are then factor · Σ products.
    func sumProducts(factor: Float) {
        lanes.forRanges(count, grain: 16) { _, range in
            let (first, length) = (deltas + range.lowerBound, range.count)
            for lane in 1..<max(lanes.count, 1) {
                kernels.addScaled(first, products(lane: lane) + range.lowerBound, 1, length)
            }
            kernels.scale(first, factor, length)
        }
    }

    private func reserve(_ wanted: Int, _ latents: Int) {
        if latents != latentCount {
            free(offsets)
            offsets = allocateAligned(latents + 1)
            free(middles)
            middles = allocateAligned(latents)
            cursors = [Int32](repeating: 0, count: latents * lanes.count)
            latentCount = latents
        }
        guard wanted > capacity else { return }
        free(rows)
        free(values)
        free(deltas)
        // A multiple of a cache line, so that no two lanes write to the same one.
        capacity = (wanted + wanted / 4 + 15) / 16 * 16
        rows = allocateAligned(capacity)
        values = allocateAligned(capacity)
        deltas = allocateAligned(capacity * lanes.count)
    }
}
