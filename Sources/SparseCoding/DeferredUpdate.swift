import Glibc
import LinearAlgebra
import Synchronization

/// Adam's step on the rows of encoder and decoder, put off until the next batch is encoded.
///
/// A step moves 14 matrices of size F×D through memory, which one lane alone keeps busy (63 GB/s of 67 on two Zen 5 cores), and a
/// product's tiles hardly touch it. So lanes take turns at it: one brings rows up to date while the others compute with those
/// that are. Each row's arithmetic is the same whoever does it.
package final class DeferredUpdate {
    /// Latents that are brought up to date at once: those of a tile.
    private static let latents = PreactivationTiles.latents

    private enum Progress {
        static let due: UInt8 = 0
        static let begun: UInt8 = 1
        static let done: UInt8 = 2
    }

    private let latents: Int
    private let chunkCount: Int
    private let lanes: Lanes
    private let progress: UnsafeMutablePointer<Atomic<UInt8>>
    private var updateRows: ((Range<Int>) -> Void)?

    /// - Parameter latents: F.
    package init(latents: Int, lanes: Lanes) {
        self.latents = latents
        self.lanes = lanes
        chunkCount = (latents + Self.latents - 1) / Self.latents
        progress = .allocate(capacity: chunkCount)
        for chunk in 0..<chunkCount { (progress + chunk).initialize(to: Atomic(Progress.done)) }
    }

    deinit {
        progress.deinitialize(count: chunkCount)
        progress.deallocate()
    }

    /// From now on all rows are due; `updateRows` is called once for each range of them, on any lane.
    package func begin(_ updateRows: @escaping (Range<Int>) -> Void) {
        complete()
        self.updateRows = updateRows
        for chunk in 0..<chunkCount { progress[chunk].store(Progress.due, ordering: .relaxed) }
    }

    /// Brings these rows up to date, and, where it is this lane's turn, some that are wanted soon. Lanes come here with ascending ranges.
    package func bring(_ range: Range<Int>, lane: Int) {
        guard updateRows != nil else { return }
        for chunk in range.lowerBound / Self.latents...(range.upperBound - 1) / Self.latents {
            // The first ones all at once, and then each lane one of as many as there are lanes.
            if chunk == 0 { update(lane) }
            if chunk % lanes.count == lane { update(chunk + lanes.count) }
            update(chunk)
            var spins = 0
            while progress[chunk].load(ordering: .acquiring) != Progress.done {
                spins += 1
                // Its lane's processor may have been taken by another process.
                if spins > 20_000 { sched_yield() }
            }
        }
    }

    /// Brings all rows up to date.
    package func complete() {
        guard updateRows != nil else { return }
        lanes.forRanges(chunkCount) { _, chunks in
            for chunk in chunks { update(chunk) }
        }
        updateRows = nil
    }

    /// Does a chunk that is there, unless it was begun.
    private func update(_ chunk: Int) {
        guard chunk < chunkCount,
            progress[chunk].compareExchange(
                expected: Progress.due, desired: Progress.begun, ordering: .relaxed
            ).exchanged
        else { return }
        updateRows?(chunk * Self.latents..<min((chunk + 1) * Self.latents, latents))
        progress[chunk].store(Progress.done, ordering: .releasing)
    }
}
