import Attribution
import LinearAlgebra
import Testing

@Suite struct RankCorrelationTests {
    /// Numbers with many ties, or with none.
    private func numbers(_ count: Int, values: UInt32, seed: UInt64) -> [Double] {
        let random = CounterRandom(seed: seed, purpose: .test)
        return (0..<count).map { Double(random.block(UInt64($0)).x % values) }
    }

    /// τ_b by its definition, pair by pair.
    private func naiveKendall(_ a: [Double], _ b: [Double]) -> Double {
        var (difference, tiedA, tiedB, all) = (0.0, 0.0, 0.0, 0.0)
        for i in a.indices {
            for j in a.indices.dropFirst(i + 1) {
                all += 1
                if a[i] == a[j] { tiedA += 1 }
                if b[i] == b[j] { tiedB += 1 }
                difference += ((a[i] - a[j]) * (b[i] - b[j])).signum
            }
        }
        return difference / ((all - tiedA) * (all - tiedB)).squareRoot()
    }

    @Test(arguments: [(2, 3 as UInt32), (7, 3), (40, 4), (63, 1000), (200, 12), (257, 1_000_000)])
    func kendallIsItsDefinition(_ count: Int, _ values: UInt32) {
        let a = numbers(count, values: values, seed: 1), b = numbers(count, values: values, seed: 2)
        let expected = naiveKendall(a, b)
        let found = kendallCorrelation(a, b)
        // Counts are exact in Double; one division and one root.
        if Set(a).count == 1 || Set(b).count == 1 {
            #expect(found.isNaN && count == 2)
        } else {
            #expect(abs(found - expected) < 1e-14)
            #expect(abs(kendallCorrelation(a, a) - 1) < 1e-14)
        }
    }

    /// spearmanr and kendalltau of scipy.stats 1.17.1.
    @Test func theyAreScipys() {
        let a = [1.0, 2, 2, 3, 7, 5, 5, 5, 0], b = [2.0, 1, 3, 3, 9, 9, 4, 6, 0.5]
        #expect(abs(spearmanCorrelation(a, b) - 0.9314076794245811) < 1e-12)
        #expect(abs(kendallCorrelation(a, b) - 0.8488746876271653) < 1e-12)
        #expect(ranks([3, 1, 3, 2]) == [1.5, 4, 1.5, 3])
    }

    @Test func withoutVarianceThereIsNoCorrelation() {
        #expect(spearmanCorrelation([1, 1, 1], [1, 2, 3]).isNaN)
        #expect(kendallCorrelation([1, 1, 1], [1, 2, 3]).isNaN)
    }

    @Test func anIntervalHoldsTheMiddleOfItsDraws() {
        let interval = Interval(0.5, draws: (0...1000).map { Double($0) / 1000 } + [.nan])
        #expect(abs(interval.low - 0.025) < 1e-12 && abs(interval.high - 0.975) < 1e-12)
        #expect(interval.isAboveZero && !interval.isBelowZero)
    }

    @Test func sequencesAreDrawnAgainInTheirNumber() {
        for draw in 0..<20 {
            let again = Resampling(sequences: 13, seed: 5, purpose: .bootstrap, draw: draw)
            #expect(again.withReplacement().reduce(0, +) == 13)
            #expect(again.half().reduce(0, +) == 6 && again.half().allSatisfy { $0 == 0 || $0 == 1 })
        }
        // Each as often as the others: 2000 draws of 13 with a standard deviation of 43 each; five of them.
        var counts = [Int](repeating: 0, count: 13)
        for draw in 0..<2000 {
            let weights = Resampling(sequences: 13, seed: 5, purpose: .bootstrap, draw: draw).withReplacement()
            for s in 0..<13 { counts[s] += weights[s] }
        }
        #expect(counts.allSatisfy { abs($0 - 2000) < 215 })
    }
}

extension Double {
    fileprivate var signum: Double { self > 0 ? 1 : self < 0 ? -1 : 0 }
}
