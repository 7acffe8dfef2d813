import Reports
import Testing

@Suite struct AxisTests {
    private func labels(_ range: ClosedRange<Double>, _ scale: Axis.Scale = .linear, isWhole: Bool = false) -> [String]
    {
        Axis(title: "", scale: scale, range: range, isWhole: isWhole).ticks.map(\.label)
    }

    @Test func linearTicksAreRoundAndHaveTheSameDecimals() {
        #expect(labels(0...1) == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"])
        #expect(labels(0...7.3) == ["0", "2", "4", "6"])
        #expect(labels(-0.12...0.31) == ["−0.1", "0.0", "0.1", "0.2", "0.3"])
        #expect(labels(0.9755...0.9912) == ["0.980", "0.985", "0.990"])
        #expect(labels(0...40_000) == ["0", "10000", "20000", "30000", "40000"])
    }

    @Test func aWholeAxisHasNoFractions() {
        #expect(labels(-0.5...1.5, isWhole: true) == ["0", "1"])
        #expect(labels(-0.5...0.5, isWhole: true) == ["0"])
        #expect(labels(-0.5...20.5, isWhole: true) == ["0", "5", "10", "15", "20"])
    }

    @Test func aLogAxisOfAnyWidthHasTicks() {
        #expect(labels(0.006...600, .log) == ["0.01", "0.1", "1", "10", "100"])
        #expect(labels(0.04...1.1, .log) == ["0.05", "0.1", "0.2", "0.5", "1"])
        // Less than a factor of two: what a linear axis would have.
        #expect(labels(0.61...0.68, .log) == ["0.62", "0.64", "0.66", "0.68"])
        #expect(labels(0...300, .logOnePlus) == ["0", "1", "4", "16", "64", "256"])
    }

    @Test(arguments: [Axis.Scale.linear, .log, .logOnePlus]) func everyTickLiesOnTheAxis(_ scale: Axis.Scale) {
        for range in [0.0...0, 1...1, 1e-9...2e-9, 3e-5...4e-5, 1...1e9, 1e300...1e301, 5...5.000001, 1e15...1e15 + 2] {
            let ticks = Axis(title: "", scale: scale, range: range).ticks
            #expect(ticks.count < 25, "\(range)")
            // Of whole powers of 4 there are none in most of these.
            if scale == .linear || scale == .log && range.upperBound > 0 { #expect(!ticks.isEmpty, "\(range)") }
            // Ends may be passed by what the step cannot be told from in Double.
            let margin = 1e-6 * max(range.upperBound - range.lowerBound, abs(range.upperBound) * 1e-9)
            #expect(
                ticks.allSatisfy { $0.at >= range.lowerBound - margin && $0.at <= range.upperBound + margin },
                "\(range)")
        }
    }

    @Test func valuesHaveTheirPlacesAndWhatIsNoNumberHasNone() {
        let linear = Axis(title: "", range: 2...4), log = Axis(title: "", scale: .log, range: 1...100)
        let zero = Axis(title: "", scale: .logOnePlus, range: 0...3)
        #expect([2, 3, 4, 9, -9].map { linear.place($0) } == [0, 0.5, 1, 1, 0])
        // One rounding of a logarithm.
        #expect(abs((log.place(10) ?? .nan) - 0.5) < 1e-15)
        #expect(zero.place(0) == 0 && zero.place(1) == 0.5)
        #expect(log.place(0) == nil && log.place(-1) == nil && zero.place(-5) == 0)
        for value in [Double.nan, .infinity, -.infinity] {
            #expect(linear.place(value) == nil && log.place(value) == nil && zero.place(value) == nil)
        }
        #expect(Axis(title: "", range: 5...5).place(5) == 0.5)
    }

    @Test func aRangeHoldsWhatIsKnown() {
        #expect(range([]) == 0...1)
        #expect(range([.nan, .infinity]) == 0...1)
        #expect(range([0, .nan, 10]) == -0.5...10.5)
        #expect(range([2, 4], from: 0) == 0...4.1)
        // One value, zero among them, still needs a width.
        for value in [0.0, 1, -3, 1e12] {
            let found = range([value])
            #expect(found.lowerBound < value && value < found.upperBound)
        }
        #expect(range([-5], from: 0).upperBound > 0)
        #expect(logRange([]) == 0.1...1 && logRange([0, -1, .nan]) == 0.1...1)
        let positive = logRange([0, 0.5, 8])
        #expect(positive.lowerBound > 0 && positive.lowerBound < 0.5 && positive.upperBound > 8)
    }
}
