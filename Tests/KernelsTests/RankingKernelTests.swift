import Kernels
import TestSupport
import Testing

/// What a selection asks of its candidates' values decides which are kept: exact at every level.
@Suite struct RankingKernelTests {
    /// Values with ties, whole numbers below 9.
    private func tied(_ count: Int) -> [Float] { wholeMatrix(1, count, seed: 30, bound: 9).values.map(abs) }

    @Test(arguments: levels, counts) func whatIsNotBelowABoundIsKeptInItsOrder(_ level: ProcessorLevel, _ count: Int) {
        let values = tied(count)
        let row = GuardedRow(values)
        let columns = (0..<count).map { Int32($0) * 3 }
        for least: Float in [0, 4, Float(4).nextUp, 8, 100, .infinity] {
            let wanted = (0..<count).filter { values[$0] >= least }
            // Not a number more is written: what follows may be another row's.
            let kept = GuardedRow([Float](repeating: -1, count: wanted.count))
            var keptColumns = [Int32](repeating: -1, count: wanted.count + 1)
            let found = level.kernels.keepAtLeast(
                columns, row.pointer, count, least, &keptColumns, kept.pointer)
            #expect(found == wanted.count && kept.values == wanted.map { values[$0] } && kept.isIntact)
            #expect(keptColumns == wanted.map { columns[$0] } + [-1])
            #expect(level.kernels.countAtLeast(row.pointer, count, least) == wanted.count && row.isIntact)

            // In their own place.
            let own = GuardedRow(values)
            var ownColumns = columns
            let foundThere = ownColumns.withUnsafeMutableBufferPointer {
                $0.baseAddress.map { level.kernels.keepAtLeast($0, own.pointer, count, least, $0, own.pointer) } ?? 0
            }
            #expect(foundThere == wanted.count && own.isIntact)
            #expect(Array(own.values.prefix(foundThere)) == wanted.map { values[$0] })
            #expect(Array(ownColumns.prefix(foundThere)) == wanted.map { columns[$0] })
        }
    }

    @Test(arguments: levels, counts) func aRangeHoldsBothItsEnds(_ level: ProcessorLevel, _ count: Int) {
        let values = tied(count)
        let row = GuardedRow(values)
        for (least, most): (Float, Float) in [(2, 5), (3, 3), (0, .infinity), (9.5, 20), (0, 0)] {
            let wanted = values.filter { $0 >= least && $0 <= most }
            let within = GuardedRow([Float](repeating: -1, count: wanted.count))
            let found = level.kernels.gatherWithin(row.pointer, count, least, most, within.pointer)
            #expect(found == wanted.count && within.values == wanted && within.isIntact && row.isIntact)
        }
    }

    @Test(arguments: levels, counts) func theExtentIsThatOfTheValues(_ level: ProcessorLevel, _ count: Int) {
        let values = randomMatrix(1, count, seed: 31, from: -3, to: 5).values
        let row = GuardedRow(values)
        let found = level.kernels.extent(row.pointer, count)
        #expect(found == SIMD2(values.min() ?? .infinity, values.max() ?? -.infinity) && row.isIntact)
    }

    @Test(arguments: levels, counts) func marksAreCountedAndTheirLeastIsFound(_ level: ProcessorLevel, _ count: Int) {
        let values = randomMatrix(1, count, seed: 32, from: 0, to: 5).values
        let row = GuardedRow(values)
        // A mark may be any number but 0.
        for marks in [(0..<count).map { UInt8($0 % 3) }, [UInt8](repeating: 0, count: count)] {
            var least: Float = 0
            let found = level.kernels.countMarked(row.pointer, marks, count, &least)
            let marked = (0..<count).filter { marks[$0] != 0 }.map { values[$0] }
            #expect(found == marked.count && least == marked.min() ?? .infinity && row.isIntact)
        }
    }
}
