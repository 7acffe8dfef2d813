import Glibc
import Kernels
import LinearAlgebra

/// Positive pre-activations that may be selected, in the order they were found, on one lane: runs of entries, each of one
/// row with columns ascending, and of a row in the order of their columns.
final class CandidateList {
    private struct Run {
        var row: Int32
        var count: Int32
    }

    private(set) var count = 0
    /// Times the list was pruned before it was complete.
    var cuts = 0
    private var capacity = 0
    private(set) var columns: UnsafeMutablePointer<Int32> = allocateAligned(0)
    private(set) var values: UnsafeMutablePointer<Float> = allocateAligned(0)
    private var runs: UnsafeMutablePointer<Run> = allocateAligned(0)
    private var runCount = 0
    private var runCapacity = 0

    deinit {
        free(columns)
        free(values)
        free(runs)
    }

    func removeAll() { (count, runCount) = (0, 0) }

    /// Makes room for `extra` more entries of one row, to be written at `count` and then taken in by `append`.
    func reserve(_ extra: Int) {
        if runCount == runCapacity {
            runCapacity = max(1024, 2 * runCapacity)
            runs = moved(runs, runCount, runCapacity)
        }
        guard count + extra > capacity else { return }
        capacity = max(count + extra, 2 * capacity)
        columns = moved(columns, count, capacity)
        values = moved(values, count, capacity)
    }

    /// Takes in `found` entries of row `row` whose columns and values are already written behind the last one.
    func append(_ found: Int, row: Int) {
        guard found > 0 else { return }
        runs[runCount] = Run(row: Int32(truncatingIfNeeded: row), count: Int32(truncatingIfNeeded: found))
        runCount += 1
        count += found
    }

    /// Drops what cannot be among the `limit` largest of the entries, keeping the order, and
    /// returns the largest value below which nothing can be. An entry equal to the limit-th largest stays: which of
    /// the ties belongs is for the rule to say.
    func prune(to limit: Int) -> Float {
        guard count > limit else { return 0 }
        guard limit > 0 else {
            removeAll()
            return .infinity
        }
        let least = rankThreshold(values, count, limit).value
        var (at, kept, keptRuns) = (0, 0, 0)
        for run in 0..<runCount {
            let size = Int(runs[run].count)
            let found = kernels.keepAtLeast(columns + at, values + at, size, least, columns + kept, values + kept)
            at += size
            guard found > 0 else { continue }
            runs[keptRuns] = Run(row: runs[run].row, count: Int32(truncatingIfNeeded: found))
            keptRuns += 1
            kept += found
        }
        (count, runCount) = (kept, keptRuns)
        return least.nextDown
    }

    /// What was found, for ranking.
    var found: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: values, count: count) }

    /// Adds to `rowCounts` the entries per row that are not below `least`.
    func countRows(_ least: Float, into rowCounts: UnsafeMutablePointer<Int64>) {
        let countAtLeast = kernels.countAtLeast
        var at = 0
        for run in 0..<runCount {
            let size = Int(runs[run].count)
            rowCounts[Int(runs[run].row)] += Int64(countAtLeast(values + at, size, least))
            at += size
        }
    }

    /// Copies the entries that are not below `least` to where `cursor` says their row continues.
    func scatter(_ least: Float, cursor: UnsafeMutablePointer<Int64>, into codes: SparseCodes) {
        let (outColumns, outValues, keepAtLeast) = (codes.columnIndices, codes.values, kernels.keepAtLeast)
        var at = 0
        for run in 0..<runCount {
            let (row, size) = (Int(runs[run].row), Int(runs[run].count))
            let target = Int(cursor[row])
            let kept = keepAtLeast(
                columns + at, values + at, size, least, outColumns + target, outValues + target)
            cursor[row] += Int64(kept)
            at += size
        }
    }

    private func moved<Element>(_ old: UnsafeMutablePointer<Element>, _ count: Int, _ size: Int)
        -> UnsafeMutablePointer<Element>
    {
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
