import Kernels
import TestSupport
import Testing

/// The kernels of a decoder's block, against the same in Double. Bounds as in `VectorKernelTests`.
@Suite struct DecoderKernelTests {
    private func near(_ found: Float, _ expected: Double, roundings: Int, size: Double) -> Bool {
        abs(Double(found) - expected) <= Double(roundings) * rounding * size
    }

    /// 1/√(Σ x²/n + ε) in Double.
    private func inverseRoot(_ x: [Double], _ epsilon: Double) -> Double {
        1 / (x.reduce(0) { $0 + $1 * $1 } / Double(x.count) + epsilon).squareRoot()
    }

    @Test(arguments: levels, counts.filter { $0 > 0 })
    func normalizeDividesByTheRootMeanSquare(_ level: ProcessorLevel, _ count: Int) {
        for inPlace in [false, true] {
            let (x, w) = (GuardedRow(random: count, seed: 40), GuardedRow(random: count, seed: 41))
            let y = inPlace ? x : GuardedRow(random: count, seed: 42)
            let before = x.doubles
            let r = inverseRoot(before, 0.01)
            level.kernels.normalize(y.pointer, x.pointer, w.pointer, 0.01, count)
            for i in 0..<count {
                let expected = w.doubles[i] * before[i] * r
                #expect(near(y.values[i], expected, roundings: 3, size: abs(expected)))
            }
            #expect(y.isIntact && x.isIntact)
        }
    }

    // An attention sink: in single precision the rest of the row would be lost in the sum of squares, which for the
    // mean of a row is right, and its product with the gradient, which is not.
    @Test(arguments: levels) func oneHugeEntryLeavesTheOthersTheirPart(_ level: ProcessorLevel) {
        var values = randomMatrix(1, 576, seed: 43, from: -1, to: 1).values
        values[17] = 20_000
        let x = GuardedRow(values), w = GuardedRow([Float](repeating: 1, count: 576))
        let dx = GuardedRow([Float](repeating: 0, count: 576))
        var upstream = randomMatrix(1, 576, seed: 44, from: -1, to: 1).values
        upstream[17] = 0
        let dy = GuardedRow(upstream)
        level.kernels.normalizeBackward(dx.pointer, x.pointer, w.pointer, dy.pointer, 1e-5, 576)
        let r = inverseRoot(x.doubles, 1e-5)
        let along = zip(x.doubles, dy.doubles).reduce(0) { $0 + $1.0 * $1.1 }
        let expected = -20_000 * r * r * r / 576 * along
        #expect(abs(Double(dx.values[17]) - expected) <= 1e-6 * abs(expected))
    }

    @Test(arguments: levels, counts.filter { $0 > 0 })
    func normalizeBackwardAddsTheDerivative(_ level: ProcessorLevel, _ count: Int) {
        let (x, w) = (GuardedRow(random: count, seed: 45), GuardedRow(random: count, seed: 46))
        let (dy, dx) = (GuardedRow(random: count, seed: 47), GuardedRow(random: count, seed: 48))
        let before = dx.doubles
        let r = inverseRoot(x.doubles, 0.01)
        level.kernels.normalizeBackward(dx.pointer, x.pointer, w.pointer, dy.pointer, 0.01, count)
        let terms = (0..<count).map { w.doubles[$0] * dy.doubles[$0] * x.doubles[$0] }
        let scale = r * r * r / Double(count)
        for i in 0..<count {
            let direct = r * w.doubles[i] * dy.doubles[i], along = scale * terms.reduce(0, +) * x.doubles[i]
            // The product w·dy is rounded before it enters the sum.
            let size = abs(before[i]) + abs(direct) + scale * terms.reduce(0) { $0 + abs($1) } * abs(x.doubles[i])
            #expect(near(dx.values[i], before[i] + direct - along, roundings: 6, size: size))
        }
        #expect(dx.isIntact && x.isIntact && dy.isIntact)
    }

    // Half a head below, of and above one vector; one head and several.
    @Test(arguments: levels, [(1, 1, 1), (4, 3, -1), (16, 2, -1), (19, 2, 1), (32, 12, -1)])
    func rotateTurnsEveryPair(_ level: ProcessorLevel, _ shape: (half: Int, heads: Int, sign: Float)) {
        let (half, heads, sign) = shape
        // Of several heads a part is turned.
        let stride = heads > 1 ? 2 * half + 3 : 2 * half
        let row = GuardedRow(random: stride * heads, seed: 49)
        let (cosines, sines) = (GuardedRow(random: half, seed: 50), GuardedRow(random: half, seed: 51))
        let before = row.doubles
        level.kernels.rotate(row.pointer, cosines.pointer, sines.pointer, sign, half, heads, stride)
        for head in 0..<heads {
            for i in 0..<half {
                let at = head * stride + i
                let (a, b) = (before[at], before[at + half])
                let (c, s) = (cosines.doubles[i], Double(sign) * sines.doubles[i])
                let size = (abs(a) + abs(b)) * (abs(c) + abs(s))
                #expect(near(row.values[at], a * c - b * s, roundings: 3, size: size))
                #expect(near(row.values[at + half], b * c + a * s, roundings: 3, size: size))
            }
            for i in head * stride + 2 * half..<(head + 1) * stride { #expect(row.doubles[i] == before[i]) }
        }
        #expect(row.isIntact)
    }

    @Test(arguments: levels, [(0, 5), (1, 1), (3, 9), (4, 4), (7, 8), (8, 7), (33, 64)])
    func transposeMovesEveryElementAndNothingElse(_ level: ProcessorLevel, _ shape: (rows: Int, columns: Int)) {
        let (rows, columns) = shape
        let (strideX, strideY) = (columns + 3, rows + 2)
        let x = GuardedRow(random: rows * strideX, seed: 52), y = GuardedRow(random: columns * strideY, seed: 53)
        let before = y.values
        level.kernels.transpose(y.pointer, strideY, x.pointer, strideX, rows, columns)
        for c in 0..<columns {
            for r in 0..<strideY {
                let expected = r < rows ? x.values[r * strideX + c] : before[c * strideY + r]
                #expect(y.values[c * strideY + r] == expected)
            }
        }
        #expect(y.isIntact)
    }
}
