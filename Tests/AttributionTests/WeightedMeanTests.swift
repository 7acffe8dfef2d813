import Attribution
import TestSupport
import Testing

/// Means with weights and their intervals, against numbers of SciPy 1.17 and identities.
@Suite struct WeightedMeanTests {
    private let a = [0.5, 0.6, 0.55, 0.8, 0.7]
    private let b = [0.45, 0.5, 0.65, 0.4]
    private let weights = [10.0, 20, 5, 40, 25]
    /// The recorded numbers have 12 digits and more.
    private let tolerance = 1e-9

    @Test func equalWeightsGiveTheMeanAndStudentsInterval() {
        // scipy.stats.t.interval(.95, 4, mean, sem).
        let equal = WeightedMean(a, weights: [3, 3, 3, 3, 3])
        for interval in [equal.interval, Interval(meanOf: a)] {
            #expect(isNear(interval.value, 0.63, within: tolerance))
            #expect(isNear(interval.low, 0.48048385530548, within: tolerance))
            #expect(isNear(interval.high, 0.7795161446945202, within: tolerance))
        }
    }

    @Test func aRatioEstimateHasCochransVariance() {
        // n = (Σ w)² / Σ w², n / (n − 1) · Σ (w (v − m))² / (Σ w)² in NumPy, and scipy.stats.t.ppf(.975, 2).
        let mean = WeightedMean(a, weights: weights)
        #expect(isNear(mean.value, 0.6925, within: tolerance))
        #expect(isNear(mean.effectiveCount, 3.6363636363636362, within: tolerance))
        #expect(isNear(mean.variance, 0.0036084051724138, within: tolerance))
        #expect(isNear(mean.interval.low, 0.4340396407678158, within: tolerance))
        #expect(isNear(mean.interval.high, 0.9509603592321842, within: tolerance))
        let scaled = WeightedMean(a, weights: weights.map { 7 * $0 })
        #expect(isNear(scaled.variance, mean.variance, within: tolerance), "a weight's unit says nothing")
    }

    @Test func differencesHaveWelchsIntervalWithWholeDegrees() {
        // scipy.stats.ttest_ind(a, b, equal_var=False): 6.85 degrees, taken as 6.
        let found = WeightedMean(a, weights: a.map { _ in 1 }).less(WeightedMean(b, weights: b.map { _ in 1 }))
        #expect(isNear(found.value, 0.13, within: tolerance))
        #expect(isNear(found.low, -0.056618808668835896, within: tolerance))
        #expect(isNear(found.high, 0.3166188086688361, within: tolerance))
        // SciPy's own interval, of 6.85 degrees, lies within.
        #expect(found.low < -0.051138509043672675 && found.high > 0.3111385090436729)
    }

    @Test func whatHasNoNumberCountsNowhere() {
        let mean = WeightedMean(a + [.nan, 9], weights: weights + [4, 0])
        #expect(mean.count == 5 && mean.value == WeightedMean(a, weights: weights).value)
        #expect(WeightedMean([], weights: []).value.isNaN && !WeightedMean([], weights: []).interval.hasLimits)
        #expect(!WeightedMean([1, 2], weights: [1, 1]).interval.hasLimits, "two say next to nothing of their spread")
        let constant = WeightedMean([0.5, 0.5, 0.5], weights: [1, 1, 1])
        #expect(constant.interval.low == 0.5 && constant.interval.high == 0.5)
        #expect(constant.less(constant).low == 0 && constant.less(constant).high == 0)
        // One value with nearly all the weight.
        #expect(!WeightedMean(a, weights: [1, 1, 1, 1, 100]).interval.hasLimits)
        #expect(!WeightedMean(a, weights: [1, 1, 1, 1, 100]).less(constant).hasLimits)
    }
}
