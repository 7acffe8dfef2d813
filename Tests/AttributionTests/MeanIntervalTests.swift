import Attribution
import TestSupport
import Testing

@Suite struct MeanIntervalTests {
    /// Two-sided 5% points, as printed in Abramowitz and Stegun's table 26.10 (0.975) and by scipy.stats.t.ppf(0.975, ν).
    @Test(arguments: [
        (1, 12.706204736), (2, 4.302652730), (3, 3.182446305), (4, 2.776445105), (9, 2.262157163), (10, 2.228138852),
        (120, 1.979930405),
    ]) func quantilesAreThoseOfTheTables(_ degrees: Int, _ wanted: Double) {
        // The tables have ten digits.
        #expect(abs(StudentT.twoSided95(degrees: degrees) - wanted) < 1e-8)
    }

    @Test func anIntervalIsMeanAndQuantileTimesStandardError() {
        let interval = Interval(meanOf: [1, 2, 6])
        // s² = 7, so half of it is 4.3026527 · √(7/3).
        #expect(interval.value == 3 && interval.hasLimits)
        checkClose([interval.low, interval.high], [3 - 6.5724, 3 + 6.5724], tolerance: 1e-4, "limits")
        #expect(!interval.isAboveZero && !interval.isBelowZero)
        #expect(Interval(meanOf: [1.0, 1.1, 1.05]).isAboveZero && Interval(meanOf: [-1.0, -1.1, -1.05]).isBelowZero)
    }

    @Test func fewerThanThreeHaveNoLimits() {
        for values in [[5.0], [5.0, 5.0]] {
            let interval = Interval(meanOf: values)
            #expect(interval.value == 5 && !interval.hasLimits && !interval.isAboveZero && !interval.isBelowZero)
        }
    }
}
