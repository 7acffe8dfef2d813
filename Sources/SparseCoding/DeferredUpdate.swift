import Glibc
import LinearAlgebra
import Synchronization

/// Adam's step on the rows of encoder and decoder, put off until the next batch is encoded.
///
/// A step moves 14 matrices of size F×D through memory, which a few lanes keep as busy as all, and a product's tiles hardly touch it. So
/// while most lanes multiply, some bring the rows of the next tiles up to date: whoever comes first to a tile. The arithmetic of a row is the
/// same whoever does it.
package final class DeferredUpdate {
    /// Rows that are brought up to date at once: few, so that lanes which wait for the same tile can share it.
    private static let chunkRows = 32
    /// A tile's.
    private static let chunksAhead = PreactivationTiles.latents / chunkRows

    private let latents: Int
    private let lanes: Lanes
    private let isDone: UnsafeMutablePointer<Atomic<Bool>>
    private let chunkCount: Int
    /// The first chunk that nobody has begun.
    private let next = Atomic(0)
    /// Lanes that work for later tiles.
    private let ahead = Atomic(0)
    /// An eighth of the lanes: one keeps the memory of two busy, and no more should wait for it than have to.
    private let mostAhead: Int
    private var updateRows: ((Range<Int>) -> Void)?

    /// - Parameter latents: F.
    package init(latents: Int, lanes: Lanes) {
        (self.latents, self.lanes) = (latents, lanes)
        chunkCount = (latents + Self.chunkRows - 1) / Self.chunkRows
        mostAhead = (lanes.count + 7) / 8
        isDone = .allocate(capacity: chunkCount)
        for chunk in 0..<chunkCount { (isDone + chunk).initialize(to: Atomic(true)) }
    }

    deinit {
        isDone.deinitialize(count: chunkCount)
        isDone.deallocate()
    }

    /// From now on all rows are due; `updateRows` is called once for each range of them, on any lane.
    package func begin(_ updateRows: @escaping (Range<Int>) -> Void) {
        complete()
        self.updateRows = updateRows
        for chunk in 0..<chunkCount { isDone[chunk].store(false, ordering: .relaxed) }
        next.store(0, ordering: .relaxed)
    }

    /// Brings these rows up to date, and those of a tile behind them unless others are at it.
    package func bring(_ range: Range<Int>) {
        guard updateRows != nil else { return }
        precondition(range.upperBound <= latents, "rows of another SAE")
        let end = (range.upperBound + Self.chunkRows - 1) / Self.chunkRows
        takeChunks(before: end)
        if ahead.add(1, ordering: .relaxed).newValue <= mostAhead {
            takeChunks(before: min(chunkCount, end + Self.chunksAhead))
        }
        ahead.subtract(1, ordering: .relaxed)
        for chunk in range.lowerBound / Self.chunkRows..<end {
            var spins = 0
            while !isDone[chunk].load(ordering: .acquiring) {
                spins += 1
                // Its lane's processor may have been taken by another process.
                if spins > 20_000 { sched_yield() }
            }
        }
    }

    /// Brings all rows up to date.
    package func complete() {
        guard updateRows != nil else { return }
        lanes.run { _ in takeChunks(before: chunkCount) }
        updateRows = nil
    }

    private func takeChunks(before end: Int) {
        var chunk = next.load(ordering: .relaxed)
        while chunk < end {
            let (isTaken, found) = next.weakCompareExchange(expected: chunk, desired: chunk + 1, ordering: .relaxed)
            guard isTaken else {
                chunk = found
                continue
            }
            updateRows?(chunk * Self.chunkRows..<min((chunk + 1) * Self.chunkRows, latents))
            isDone[chunk].store(true, ordering: .releasing)
            chunk = next.load(ordering: .relaxed)
        }
    }
}
