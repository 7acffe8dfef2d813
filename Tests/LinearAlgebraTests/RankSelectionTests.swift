import LinearAlgebra
import TestSupport
import Testing

@Suite struct RankSelectionTests {
    private let lanes1 = Lanes(count: 1)
    private let lanes3 = Lanes(count: 3)

    private func check(_ values: [Float], ranks: [Int], sourceLocation: SourceLocation = #_sourceLocation) {
        let sorted = values.sorted(by: >)
        for k in ranks {
            let value = sorted[k - 1]
            let found = rankThreshold(values, values.count, k)
            let equalCount = k - sorted.count { $0 > value }
            #expect(
                found.value == value && found.equalCount == equalCount, "rank \(k)", sourceLocation: sourceLocation)
            // In parts of unequal length, the first of them empty.
            for lanes in [lanes1, lanes3] {
                values.withUnsafeBufferPointer { all in
                    let cuts = [0, 0, values.count / 3, values.count]
                    let parts = lanes.count == 1 ? [all] : (0..<3).map { .init(rebasing: all[cuts[$0]..<cuts[$0 + 1]]) }
                    #expect(lanes.rankThreshold(parts, k) == found, "rank \(k)", sourceLocation: sourceLocation)
                }
            }
        }
    }

    @Test func everyRankOfASmallListMatchesASort() {
        check([3], ranks: [1])
        check([0.5, 2, 1, 2, 0.25, 2, 0, 0], ranks: Array(1...8))
        check([7, 7, 7, 7], ranks: Array(1...4))
        check([0, 0, 0], ranks: [1, 2, 3])
    }

    @Test func valuesThatDifferInTheLastBitAreToldApart() {
        // One value per histogram pass would do the same if a pass were dropped.
        let one: Float = 1
        check([one, one.nextUp, one.nextDown, one.nextUp.nextUp, one, one.nextUp], ranks: Array(1...6))
        let bits: [UInt32] = [0x3F80_0000, 0x3F80_03FF, 0x3F80_0400, 0x3FA0_0000, 0x3F9F_FFFF, 0x0000_0001]
        check(bits.map(Float.init(bitPattern:)), ranks: Array(1...6))
    }

    @Test func extremesOrderLikeOthers() {
        check(
            [.leastNonzeroMagnitude, .greatestFiniteMagnitude, .infinity, 0, 0x1p-140, 1e-38, 1e38],
            ranks: Array(1...7))
    }

    @Test func manyRandomValuesMatchASort() {
        let values = randomMatrix(1, 30_000, from: 0, to: 5).values
        check(values, ranks: [1, 2, 29, 1024, 15_000, 29_999, 30_000])
    }

    @Test func manyTiesMatchASort() {
        let values = wholeMatrix(1, 20_000, seed: 2, bound: 9).values.map(abs)
        check(values, ranks: [1, 500, 2000, 2001, 9999, 20_000])
    }
}
