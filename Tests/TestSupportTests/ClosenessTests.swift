import Synchronization
import TestSupport
import Testing

/// The checkers themselves: a comparison that forgets a NaN lets every test pass that rests on it.
@Suite struct ClosenessTests {
    private let expected = [0.5, -2, 0.25, 1]
    private let places = [0, 1, 3]

    private func found(_ value: Float, at place: Int) -> [Float] {
        var values = expected.map(Float.init)
        values[place] = value
        return values
    }

    /// Whether the checker records an issue.
    private func isReported(_ check: () -> Void) -> Bool {
        let isReported = Atomic(false)
        withKnownIssue(isIntermittent: true) {
            check()
        } matching: { _ in
            isReported.store(true, ordering: .relaxed)
            return true
        }
        return isReported.load(ordering: .relaxed)
    }

    @Test(arguments: [Float.nan, .infinity, -.infinity]) func whatIsNotFiniteIsFarFromEverything(_ value: Float) {
        for place in places {
            let closeness = Closeness(found(value, at: place), expected)
            #expect(closeness.difference == .infinity && closeness.index == place)
            #expect(!closeness.isWithin(1e9))
            #expect(relativeDifference(found(value, at: place), expected) == .infinity)
            var wanted = expected
            wanted[place] = Double(value)
            #expect(largestDifference(found(1, at: 0), wanted) == .infinity)
            // NaN for NaN, ∞ for ∞: no tolerance says how near they are.
            #expect(largestDifference(found(value, at: place), wanted) == .infinity)
            #expect(isReported { checkClose(found(value, at: place), expected, tolerance: 1e9, "x") })
        }
    }

    @Test func theLargestDifferenceCountsWhereverItIs() {
        for place in places {
            let values = found(Float(expected[place]) + 0.125, at: place)
            #expect(Closeness(values, expected) == Closeness(values.map(Double.init), expected))
            #expect(Closeness(values, expected).index == place)
            #expect(largestDifference(values, expected) == 0.125)
            #expect(relativeDifference(values, expected) == 0.0625)
            #expect(isReported { checkClose(values, expected, tolerance: 0.0624, "x") })
            #expect(!isReported { checkClose(values, expected, tolerance: 0.0625, "x") })
        }
    }

    @Test func otherCountsAndNothingAtAllAreIssues() {
        let values = expected.map(Float.init)
        for (a, b) in [(values, Array(expected.dropLast())), (Array(values.dropFirst()), expected), ([], [])] {
            #expect(largestDifference(a, b) == .infinity)
            #expect(isReported { checkClose(a, b, tolerance: 1e9, "x") })
            #expect(isReported { _ = paired(a, b) })
        }
        #expect(!isReported { _ = paired(values, expected) })
    }

    @Test func zerosAreCloseToZerosOnly() {
        #expect(Closeness([Float](repeating: 0, count: 3), [0.0, 0, 0]).isWithin(0))
        #expect(relativeDifference([Float(0), 0], [0.0, 0]) == 0)
        #expect(!Closeness([Float(0), 1e-30], [0.0, 0]).isWithin(1e9))
        #expect(relativeDifference([Float(0), 1e-30], [0.0, 0]) == .infinity)
    }

    @Test func aNumberIsNearAnotherOnlyIfBothAreFinite() {
        #expect(isNear(100, 101, within: 0.01) && isNear(0.1, 0.105, within: 0.01))
        #expect(!isNear(100, 102, within: 0.01) && !isNear(0.1, 0.12, within: 0.01))
        for bad in [Double.nan, .infinity, -.infinity] {
            #expect(!isNear(bad, 1, within: 1e9) && !isNear(1, bad, within: 1e9) && !isNear(bad, bad, within: 1e9))
        }
    }

    @Test func whatIsNotKnownIsNotKnownOnBothSides() {
        func isClose(_ a: [Float], _ b: [Double]) -> Bool {
            !isReported { checkCloseWhereKnown(a, b, tolerance: 0.01, "x") }
        }
        #expect(isClose([1, .nan, 3], [1, .nan, 3]))
        #expect(!isClose([1, .nan, 3], [1, .nan, 3.5]) && !isClose([1, .nan, 3], [1, 2, 3]))
        #expect(!isClose([.nan, 1, 3], [1, .nan, 3]) && !isClose([1, .nan, .infinity], [1, .nan, .infinity]))
        #expect(!isClose([.nan, .nan], [.nan, .nan]) && !isClose([1, .nan], [1, .nan, 3]) && !isClose([], []))
    }

    @Test func elementsThatDifferAreNamed() {
        #expect(!isReported { expectSame([1, 2], [1, 2]) })
        for other in [[2, 2], [1, 3], [1], [1, 2, 3], []] { #expect(isReported { expectSame([1, 2], other) }) }
        #expect(isReported { expectSame([Float.nan], [Float.nan]) })
        #expect(isReported { expectSame([Int](), []) })
    }
}
