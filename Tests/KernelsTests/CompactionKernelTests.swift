import Kernels
import TestSupport
import Testing

/// Compaction decides which latents fire: positions and values are exact at every level.
@Suite struct CompactionKernelTests {
    private func check(
        _ level: ProcessorLevel, _ x: [Float], _ bias: [Float], _ thresholds: [Float], floor: Float,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let count = x.count
        var expected: [(Int32, Float)] = []
        for i in 0..<count {
            let p = x[i] + bias[i]
            if p > thresholds[i] && p > floor { expected.append((1000 + Int32(i), p)) }
        }
        let (gx, gb, gt) = (GuardedRow(x), GuardedRow(bias), GuardedRow(thresholds))
        var positions = [Int32](repeating: -1, count: count + 1)
        let values = GuardedRow([Float](repeating: 0, count: count))
        let found = level.kernels.compactAbove(
            gx.pointer, gb.pointer, gt.pointer, floor, count, 1000, &positions, values.pointer)
        #expect(found == expected.count, sourceLocation: sourceLocation)
        #expect(Array(positions.prefix(found)) == expected.map(\.0), sourceLocation: sourceLocation)
        #expect(Array(values.values.prefix(found)) == expected.map(\.1), sourceLocation: sourceLocation)
        #expect(positions[count] == -1 && values.isIntact, sourceLocation: sourceLocation)
    }

    @Test(arguments: levels, counts) func onlyWhatExceedsBothThresholdAndFloorIsKept(
        _ level: ProcessorLevel, _ count: Int
    ) {
        let x = randomMatrix(1, count, seed: 20).values
        let bias = randomMatrix(1, count, seed: 21, from: -0.3, to: 0.3).values
        let thresholds = randomMatrix(1, count, seed: 22, from: -0.5, to: 0.9).values
        for floor: Float in [0, 0.4, -.infinity, .infinity] { check(level, x, bias, thresholds, floor: floor) }
    }

    @Test(arguments: levels, [40, 64]) func everythingAndNothingFit(_ level: ProcessorLevel, _ count: Int) {
        let zero = [Float](repeating: 0, count: count)
        check(level, [Float](repeating: 1, count: count), zero, zero, floor: 0)
        check(level, [Float](repeating: -1, count: count), zero, zero, floor: 0)
    }

    @Test(arguments: levels) func whatEqualsItsThresholdOrTheFloorIsNotAbove(_ level: ProcessorLevel) {
        // Whole numbers, so that sums are exact and every third equals its threshold.
        let x = (0..<50).map { Float($0 % 7) - 2 }
        let bias = (0..<50).map { Float($0 % 3) - 1 }
        let thresholds = (0..<50).map { i in i % 3 == 0 ? x[i] + bias[i] : Float(-3) }
        check(level, x, bias, thresholds, floor: 0)
        check(level, x, bias, thresholds, floor: 2)
        check(level, x, bias, [Float](repeating: 0, count: 50), floor: Float(2).nextDown)
    }

    @Test(arguments: levels) func negativeThresholdsLetNegativeValuesPassWhenTheFloorDoes(_ level: ProcessorLevel) {
        let x = (0..<35).map { Float($0) / 10 - 2 }
        let thresholds = [Float](repeating: -1, count: 35)
        check(level, x, [Float](repeating: 0, count: 35), thresholds, floor: -.infinity)
        check(level, x, [Float](repeating: 0, count: 35), thresholds, floor: 0)
    }

    @Test(arguments: levels) func nothingIsAboveNaNAndNaNIsAboveNothing(_ level: ProcessorLevel) {
        var x = [Float](repeating: 1, count: 37)
        var bias = [Float](repeating: 0, count: 37)
        var thresholds = bias
        for i in stride(from: 0, to: 37, by: 5) { x[i] = .nan }
        for i in stride(from: 1, to: 37, by: 5) { bias[i] = .nan }
        for i in stride(from: 2, to: 37, by: 5) { thresholds[i] = .nan }
        for i in stride(from: 3, to: 37, by: 5) { x[i] = .infinity }
        check(level, x, bias, thresholds, floor: 0)
    }
}
