import Kernels
import TestSupport
import Testing

/// Every level this processor has.
let levels = ProcessorLevel.allCases.filter { $0 <= .available }

/// Empty, below one vector, vectors with and without a rest, one block of 64 and around it, a residual stream.
let counts = [0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 576, 1000]

/// Half a unit in the last place of 1: what one rounding costs, relative.
let rounding = 0x1p-24

/// Bounds are the textbook ones (Higham, ch. 3): an expression with n roundings is off by at most n·2⁻²⁴ of the sum of
/// its terms' sizes. A level without fused multiply-add rounds the product too.
@Suite struct VectorKernelTests {
    /// Without a level no test of a kernel would run.
    @Test func everyLevelOfThisProcessorIsTested() {
        #expect(levels.first == .baseline && levels.last == .available)
    }

    private func near(_ found: Float, _ expected: Double, roundings: Int, size: Double) -> Bool {
        abs(Double(found) - expected) <= Double(roundings) * rounding * size
    }

    @Test(arguments: levels, counts) func dotIsTheSumOfProducts(_ level: ProcessorLevel, _ count: Int) {
        let (x, y) = (GuardedRow(random: count, seed: 1), GuardedRow(random: count, seed: 2))
        let products = zip(x.doubles, y.doubles).map { $0 * $1 }
        // 64 partial sums: one addition per 64 elements, then 3 groups, 6 to join, 15 of the rest, 1 for products.
        #expect(
            near(
                level.kernels.dot(x.pointer, y.pointer, count), products.reduce(0, +), roundings: count / 64 + 25,
                size: products.reduce(0) { $0 + abs($1) }))
    }

    @Test(arguments: levels, counts) func sumsInDoubleAreInDouble(_ level: ProcessorLevel, _ count: Int) {
        let (x, y) = (GuardedRow(random: count, seed: 11), GuardedRow(random: count, seed: 12))
        for terms in [x.doubles, zip(x.doubles, y.doubles).map { $0 * $1 }] {
            let isProduct = terms != x.doubles
            let found = level.kernels.sumInDouble(x.pointer, isProduct ? UnsafePointer(y.pointer) : nil, count)
            // Products of two floats are exact in Double; each addition rounds once, in whatever order.
            let size = terms.reduce(0) { $0 + abs($1) }
            #expect(abs(found - terms.reduce(0, +)) <= Double(2 * count) * 0x1p-53 * size)
        }
        #expect(x.isIntact && y.isIntact)
    }

    @Test(arguments: levels, counts) func addScaledAddsARow(_ level: ProcessorLevel, _ count: Int) {
        let (x, y) = (GuardedRow(random: count, seed: 3), GuardedRow(random: count, seed: 4))
        let before = y.doubles
        level.kernels.addScaled(y.pointer, x.pointer, 0.7, count)
        let a = Double(Float(0.7))
        for i in 0..<count {
            let term = a * x.doubles[i]
            #expect(near(y.values[i], before[i] + term, roundings: 2, size: abs(before[i]) + abs(term)))
        }
        #expect(y.isIntact)
    }

    @Test(arguments: levels, counts) func addScaled4AddsFourRows(_ level: ProcessorLevel, _ count: Int) {
        let rows = (0..<4).map { GuardedRow(random: count, seed: 5 + UInt64($0)) }
        let y = GuardedRow(random: count, seed: 9)
        let before = y.doubles
        let a = SIMD4<Float>(0.3, -1.7, 0.01, 2.5)
        level.kernels.addScaled4(
            y.pointer, rows[0].pointer, rows[1].pointer, rows[2].pointer, rows[3].pointer, a, count)
        for i in 0..<count {
            let terms = (0..<4).map { Double(a[$0]) * rows[$0].doubles[i] }
            let size = terms.reduce(abs(before[i])) { $0 + abs($1) }
            #expect(near(y.values[i], terms.reduce(before[i], +), roundings: 8, size: size))
        }
        #expect(y.isIntact)
    }

    @Test(arguments: levels, counts) func combineWorksInPlaceOfEither(_ level: ProcessorLevel, _ count: Int) {
        for target in 0..<3 {
            let (x, y) = (GuardedRow(random: count, seed: 10), GuardedRow(random: count, seed: 11))
            let (px, py) = (x.doubles, y.doubles)
            let z = [x, y, GuardedRow(random: count, seed: 12)][target]
            level.kernels.combine(z.pointer, -0.6, x.pointer, 1.9, y.pointer, count)
            let (a, b) = (Double(Float(-0.6)), Double(Float(1.9)))
            for i in 0..<count {
                let size = abs(a * px[i]) + abs(b * py[i])
                #expect(near(z.values[i], a * px[i] + b * py[i], roundings: 3, size: size))
            }
            #expect(z.isIntact)
        }
    }

    @Test(arguments: levels, counts) func scaleRoundsOnce(_ level: ProcessorLevel, _ count: Int) {
        let x = GuardedRow(random: count, seed: 13)
        let expected = x.values.map { $0 * 0.37 }
        level.kernels.scale(x.pointer, 0.37, count)
        #expect(x.values == expected && x.isIntact)
    }

    @Test(arguments: levels, counts) func maximumIsExact(_ level: ProcessorLevel, _ count: Int) {
        // The largest at every place in turn; all below zero, so that a start from 0 would show.
        for at in Set([0, count / 2, count - 1]) where at >= 0 && at < count {
            var values = randomMatrix(1, count, seed: 14, from: -9, to: -5).values
            values[at] = -4.5
            let x = GuardedRow(values)
            #expect(level.kernels.maximum(x.pointer, count) == -4.5)
        }
        if count == 0 { #expect(level.kernels.maximum(GuardedRow([]).pointer, 0) == -.infinity) }
    }

    @Test(arguments: levels) func maximumPassesOverNaN(_ level: ProcessorLevel) {
        let x = GuardedRow((0..<40).map { $0 % 3 == 0 ? .nan : Float($0) })
        #expect(level.kernels.maximum(x.pointer, 40) == 38)
        #expect(level.kernels.maximum(GuardedRow([.nan, .nan]).pointer, 2) == -.infinity)
    }
}
