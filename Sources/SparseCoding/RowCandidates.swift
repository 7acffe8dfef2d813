import Glibc
import Kernels
import LinearAlgebra

/// The largest pre-activations of some latents in each row, picked up while a selection's tiles pass by: asked for
/// afterwards they would cost a product of their own.
///
/// Which latents are dead is known after a selection only, since one of them may fire in it. So those are looked at
/// that are dead unless they fire, and each row keeps some more than its k largest of them: a row is short only if it
/// has lost more than that to latents that fired, and then everything is gone through again.
package final class RowCandidates {
    /// How many more than k a row keeps.
    package var margin = 64
    /// How often a batch was gone through again because a row was short, for tests.
    package private(set) var repeatCount = 0
    private var limit = 0
    private var rows = 0
    /// Entries that a row has room for.
    private var capacity = 0
    /// [1, F]: 0 for a latent that is looked at, ∞ for others.
    private var thresholds = Matrix(rows: 1, columns: 0)
    /// [F + 1]: latents looked at below each.
    private var lookedAt: [Int32] = []
    /// [rows]: entries, and the value at and below which a row takes no more.
    private var counts: UnsafeMutablePointer<Int> = allocateAligned(0)
    private var floors = Matrix(rows: 1, columns: 0)
    /// [rows, capacity] latents of the candidates.
    private var columns: UnsafeMutablePointer<Int32> = allocateAligned(0)
    private var values: UnsafeMutablePointer<Float> = allocateAligned(0)
    private var allocated = 0
    private let lanes: Lanes

    package init(lanes: Lanes) { self.lanes = lanes }

    /// Room of a row that is cut when it holds more than so many entries, twice the limit or all there can be: what one
    /// more tile may bring comes on top.
    static func room(for entries: Int) -> Int { (entries + PreactivationTiles.latents + 15) / 16 * 16 }

    /// Rows that had more than they keep, for tests.
    package var cutRowCount: Int { (0..<rows).count { floors[$0] > 0 } }

    deinit {
        free(counts)
        free(columns)
        free(values)
    }

    /// Forgets everything and looks at `latents` from here on, of which a row will be asked for its `k` largest.
    package func begin(_ latents: [Int], of latentCount: Int, rows: Int, k: Int) {
        if thresholds.columns != latentCount {
            thresholds = Matrix(rows: 1, columns: latentCount)
            lookedAt = [Int32](repeating: 0, count: latentCount + 1)
        }
        thresholds.fill(.infinity)
        for j in latents { thresholds[j] = 0 }
        for j in 0..<latentCount { lookedAt[j + 1] = lookedAt[j] + (thresholds[j] == 0 ? 1 : 0) }
        limit = k + margin
        capacity = Self.room(for: min(2 * limit, latents.count))
        if self.rows != rows {
            free(counts)
            counts = allocateAligned(rows)
            floors = Matrix(rows: 1, columns: rows)
            self.rows = rows
        }
        if rows * capacity > allocated {
            free(columns)
            free(values)
            allocated = rows * capacity
            columns = allocateAligned(allocated)
            values = allocateAligned(allocated)
        }
        for r in 0..<rows { (counts[r], floors[r]) = (0, 0) }
    }

    /// Picks up what a tile has. Tiles of a row come on one lane, latents ascending.
    func take(_ tile: PreactivationTiles.Tile, bias: Matrix) {
        let first = tile.latents.lowerBound
        guard lookedAt[tile.latents.upperBound] > lookedAt[first] else { return }
        let compactAbove = kernels.compactAbove
        for r in tile.rows {
            let (ownColumns, ownValues) = (columns + r * capacity, values + r * capacity)
            let start = counts[r]
            precondition(start + tile.latents.count <= capacity, "row \(r) holds \(start) of \(capacity)")
            let found = compactAbove(
                tile.row(r), bias.elements + first, thresholds.elements + first, floors[r], tile.latents.count,
                Int32(truncatingIfNeeded: first), ownColumns + start, ownValues + start)
            counts[r] = start + found
            if start + found > 2 * limit { counts[r] = cut(r, ownColumns, ownValues, start + found) }
        }
    }

    /// Keeps the `limit` largest of a row, of equal ones those of the lower columns: the first, and so nothing that
    /// comes later can equal its way in.
    private func cut(
        _ r: Int, _ columns: UnsafeMutablePointer<Int32>, _ values: UnsafeMutablePointer<Float>, _ count: Int
    ) -> Int {
        floors[r] = keepLargest(limit, columns, values, count, columns, values)
        return limit
    }

    /// The k largest of each row among `dead`, ties to lower columns, into `codes` [rows, F]. When a row is short,
    /// `again` must bring all tiles once more.
    package func largest(
        _ k: Int, among dead: [Int], of latentCount: Int, into codes: SparseCodes, again: () -> Void
    ) {
        if !drop(allBut: dead, of: latentCount, wanted: k) {
            repeatCount += 1
            begin(dead, of: latentCount, rows: rows, k: k)
            again()
        }
        codes.reset(rows: rows, columns: latentCount, capacity: 0)
        for r in 0..<rows {
            precondition(
                counts[r] >= k || floors[r] == 0, "every latent that was looked at is dead, and a row has not \(k)")
            codes.rowOffsets[r + 1] = Int64(min(k, counts[r]))
        }
        codes.sumRowCounts()
        guard k > 0 else { return }
        lanes.forRanges(rows) { _, range in
            for r in range {
                let (from, to) = (r * capacity, Int(codes.rowOffsets[r]))
                keepLargest(
                    k, columns + from, values + from, counts[r], codes.columnIndices + to, codes.values + to)
            }
        }
    }

    /// Drops entries of latents that are not dead; false if a row that was cut has fewer than `wanted` left.
    private func drop(allBut dead: [Int], of latentCount: Int, wanted: Int) -> Bool {
        // Those that were looked at are all dead unless one fired.
        if dead.count < Int(lookedAt[latentCount]) {
            var isDead = [Bool](repeating: false, count: latentCount)
            for j in dead { isDead[j] = true }
            isDead.withUnsafeBufferPointer { isDead in
                nonisolated(unsafe) let isDead = isDead
                lanes.forRanges(rows) { _, range in
                    for r in range {
                        let (ownColumns, ownValues) = (columns + r * capacity, values + r * capacity)
                        var at = 0
                        for e in 0..<counts[r] {
                            // Written whether it stays or not: which do is nothing to foresee.
                            let column = ownColumns[e]
                            (ownColumns[at], ownValues[at]) = (column, ownValues[e])
                            at += isDead[Int(column)] ? 1 : 0
                        }
                        counts[r] = at
                    }
                }
            }
        }
        return !(0..<rows).contains { floors[$0] > 0 && counts[$0] < wanted }
    }
}
