import Glibc
import LinearAlgebra

/// Positive pre-activations that may be selected, in the order they were found, on one lane.
final class CandidateList {
    private(set) var count = 0
    /// Times the list was pruned before it was complete.
    var cuts = 0
    private var capacity = 0
    private var rows: UnsafeMutablePointer<Int32> = allocateAligned(0)
    private(set) var columns: UnsafeMutablePointer<Int32> = allocateAligned(0)
    private(set) var values: UnsafeMutablePointer<Float> = allocateAligned(0)

    deinit {
        free(rows)
        free(columns)
        free(values)
    }

    func removeAll() { count = 0 }

    /// Makes room for `extra` more entries, to be written at `count` and then taken in by `append`.
    func reserve(_ extra: Int) {
        guard count + extra > capacity else { return }
        let grown = max(count + extra, 2 * capacity)
        rows = moved(rows, grown)
        columns = moved(columns, grown)
        values = moved(values, grown)
        capacity = grown
    }

    /// Takes in `found` entries of row `row` whose columns and values are already written behind the last one.
    func append(_ found: Int, row: Int) {
        (rows + count).update(repeating: Int32(truncatingIfNeeded: row), count: found)
        count += found
    }

    /// Drops what cannot be among the `limit` largest of the entries, keeping the order, and
    /// returns the largest value below which nothing can be. An entry equal to the limit-th largest stays: which of
    /// the ties belongs is for the rule to say.
    func prune(to limit: Int) -> Float {
        guard count > limit else { return 0 }
        guard limit > 0 else {
            count = 0
            return .infinity
        }
        let least = rankThreshold(values, count, limit).value
        var kept = 0
        for e in 0..<count where values[e] >= least {
            rows[kept] = rows[e]
            columns[kept] = columns[e]
            values[kept] = values[e]
            kept += 1
        }
        count = kept
        return least.nextDown
    }

    /// What was found, for ranking.
    var found: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: values, count: count) }

    /// Adds to `rowCounts` the entries per row that are not below `least`.
    func countRows(_ least: Float, into rowCounts: UnsafeMutablePointer<Int64>) {
        for e in 0..<count where values[e] >= least { rowCounts[Int(rows[e])] += 1 }
    }

    /// Scatters the entries that are not below `least` to where `cursor` says their row continues. Within a row entries
    /// were found with columns ascending, and this keeps that order.
    func scatter(_ least: Float, cursor: UnsafeMutablePointer<Int64>, into codes: SparseCodes) {
        let (outColumns, outValues) = (codes.columnIndices, codes.values)
        for e in 0..<count where values[e] >= least {
            let row = Int(rows[e])
            let at = Int(cursor[row])
            cursor[row] += 1
            outColumns[at] = columns[e]
            outValues[at] = values[e]
        }
    }

    private func moved<Element>(_ old: UnsafeMutablePointer<Element>, _ size: Int) -> UnsafeMutablePointer<Element> {
        let new: UnsafeMutablePointer<Element> = allocateAligned(size)
        new.update(from: old, count: count)
        free(old)
        return new
    }
}

extension SparseCodes {
    /// Becomes the codes whose entries are those of the lists, one per lane, that are not below `least`. No row is in
    /// two lists.
    func assemble(_ lists: [CandidateList], rows: Int, columns: Int, atLeast least: Float = 0, lanes: Lanes) {
        reset(rows: rows, columns: columns, capacity: 0)
        lanes.run { lists[$0].countRows(least, into: rowOffsets + 1) }
        sumRowCounts()
        let cursor: UnsafeMutablePointer<Int64> = allocateAligned(rows)
        cursor.update(from: rowOffsets, count: rows)
        nonisolated(unsafe) let shared = cursor
        lanes.run { lists[$0].scatter(least, cursor: shared, into: self) }
        free(cursor)
    }
}
