import Glibc
import Kernels
import TestSupport
import Testing

/// The polynomial is documented as good to 3e-6 of the result; what is computed from it adds a few roundings.
@Suite struct ExponentialKernelTests {
    private let polynomial = 3e-6
    /// Below e^−87.3 the result is 0: that is as far as it can be off there.
    private let underflow = 1.3e-38

    private func exponentials(_ level: ProcessorLevel, _ x: [Float], shift: Float = 0) -> (values: [Float], sum: Double)
    {
        let row = GuardedRow(x)
        let sum = level.kernels.exponentialSum(row.pointer, shift, x.count)
        #expect(row.isIntact)
        return (row.values, sum)
    }

    @Test(arguments: levels) func theWholeRangeIsWithinTheDocumentedError(_ level: ProcessorLevel) {
        // A step that is no fraction of ln 2, so that every part of the reduced range is met.
        let x = (0..<20_000).map { Float(-110) + Float($0) * 0.009913 }.filter { $0 <= 88.29 }
        let found = exponentials(level, x).values
        for i in x.indices {
            let expected = exp(Double(x[i]))
            #expect(abs(Double(found[i]) - expected) <= max(underflow, polynomial * expected), "e^\(x[i])")
        }
        #expect(x.count > 19_000 && found.last! > 1e38)
    }

    @Test(arguments: levels) func theEdgesAreWhatSoftmaxNeeds(_ level: ProcessorLevel) {
        // Once in vectors of sixteen, once in the rest of a row.
        for repeats in [16, 1] {
            func one(_ x: Float) -> Float { exponentials(level, [Float](repeating: x, count: repeats)).values[0] }
            #expect(one(-.infinity) == 0)
            #expect(one(-1e30) == 0)
            #expect(one(-200) == 0)
            #expect(one(0) == 1)
            #expect(one(-0.0) == 1)
            // Too large to represent: the largest it knows, finite, rather than an infinity that would make NaN later.
            #expect(one(1000).isFinite && one(1000) > 2e38)
            #expect(one(.infinity).isFinite && one(.infinity) > 2e38)
            // A NaN must stay visible.
            #expect(one(.nan).isNaN)
        }
    }

    @Test(arguments: levels, counts + [4096, 4097, 20_000])
    func exponentialSumShiftsAndSums(_ level: ProcessorLevel, _ count: Int) {
        let x = randomMatrix(1, count, seed: 30, from: -30, to: 12).values
        let (found, sum) = exponentials(level, x, shift: 11.5)
        // The shift is rounded once before the exponential, which turns an absolute error of |x − shift|·2⁻²⁴ into a
        // relative one.
        let tolerance = polynomial + 45 * rounding
        var total = 0.0
        for i in 0..<count {
            let expected = exp(Double(x[i]) - 11.5)
            #expect(abs(Double(found[i]) - expected) <= tolerance * expected)
            total += expected
        }
        // 256 additions in single precision per partial sum.
        #expect(abs(sum - total) <= (tolerance + 270 * rounding) * total)
    }
}
