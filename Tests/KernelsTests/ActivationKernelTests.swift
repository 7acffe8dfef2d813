import Glibc
import Kernels
import TestSupport
import Testing

/// Activations and soft caps against their formulas in Double. The exponential is good to 3e-6 of its result; what is computed
/// from it adds a few roundings.
@Suite struct ActivationKernelTests {
    private static let kinds: [Activation] = [.silu, .geluTanh, .gelu]
    private let polynomial = 3e-6
    private let gates: [Float] = [-1e30, -200, -100, -88, -30, -5, -1.278, -0.5, 0, 0.5, 3, 30, 100, 200, 1e30]

    /// The gate of z, its slope, and the argument of its exponential.
    private func formula(_ kind: Activation, _ z: Double) -> (gate: Double, slope: Double, argument: Double) {
        switch kind {
        case .silu, .geluTanh:
            let (c, k) = kind == .silu ? (1, 0) : ((8 / Double.pi).squareRoot(), 0.044715)
            let s = c * (z + k * z * z * z)
            let sigmoid = 1 / (1 + exp(-s))
            // Where it vanishes the slope of s may be anything.
            let rest = sigmoid * (1 - sigmoid)
            return (sigmoid, rest == 0 ? 0 : rest * c * (1 + 3 * k * z * z), s)
        case .gelu:
            return (erfc(-z / 2.0.squareRoot()) / 2, exp(-z * z / 2) / (2 * Double.pi).squareRoot(), z * z / 2)
        }
    }

    /// What a gate may be off by: rounding of the argument, and for Φ 1.5e-7 of the approximation and as much of 1 − tail.
    private func gateError(_ kind: Activation, _ z: Double) -> Double {
        let (gate, _, argument) = formula(kind, z)
        if kind == .gelu { return 5e-7 }
        // Saturated exponentials leave 1/2e38 instead of 0.
        return (polynomial + (4 + 4 * min(abs(argument), 90)) * rounding) * gate + 1e-38
    }

    @Test(arguments: levels, kinds) func `out is the activation times up`(_ level: ProcessorLevel, _ kind: Activation) {
        for count in counts {
            var gate = randomMatrix(1, count, seed: 31, from: -12, to: 12).values
            for i in 0..<min(count, gates.count) { gate[i] = gates[i] }
            let (g, u) = (GuardedRow(gate), GuardedRow(random: count, seed: 32))
            let (gated, plain) = (
                GuardedRow([Float](repeating: 0, count: count)), GuardedRow([Float](repeating: 0, count: count))
            )
            level.kernels.activate(gated.pointer, g.pointer, u.pointer, kind, count)
            level.kernels.activate(plain.pointer, g.pointer, nil, kind, count)
            for i in 0..<count {
                let z = Double(gate[i])
                let expected = z * formula(kind, z).gate
                let tolerance = abs(z) * gateError(kind, z) + 4 * rounding * abs(expected)
                #expect(abs(plain.doubles[i] - expected) <= tolerance, "\(kind) of \(z)")
                #expect(
                    abs(gated.doubles[i] - expected * u.doubles[i]) <= tolerance * abs(u.doubles[i]) + 2e-45,
                    "\(kind) of \(z)")
            }
            #expect(gated.isIntact && plain.isIntact)
        }
    }

    @Test(arguments: levels, kinds) func `backward is the derivative`(_ level: ProcessorLevel, _ kind: Activation) {
        for count in counts {
            var gate = randomMatrix(1, count, seed: 33, from: -12, to: 12).values
            for i in 0..<min(count, gates.count) { gate[i] = max(min(gates[i], 1e18), -80) }
            let (g, u, d) = (GuardedRow(gate), GuardedRow(random: count, seed: 34), GuardedRow(random: count, seed: 35))
            let (alone, up) = (GuardedRow(gate), u.doubles)
            level.kernels.activateBackward(d.pointer, g.pointer, u.pointer, kind, count)
            level.kernels.activateBackward(d.pointer, alone.pointer, nil, kind, count)
            for i in 0..<count {
                let (z, upstream) = (Double(gate[i]), d.doubles[i])
                let (value, slope, _) = formula(kind, z)
                let derivative = value + z * slope
                // Saturated exponentials leave 1/2e38, times a slope of up to 100. Terms cancel near −1.28, and 1 − σ for large arguments: relative to the terms, not to their sum.
                let size =
                    (2 * gateError(kind, z) + 8 * rounding * value) * (1 + 40 * abs(z * slope)) + 4e-7 * value
                    + (polynomial + 200 * rounding) * abs(z * slope) + 200 * abs(z) * 1e-38
                #expect(
                    abs(u.doubles[i] - upstream * z * value) <= abs(upstream * z)
                        * (gateError(kind, z) + 4 * rounding * value))
                #expect(
                    abs(g.doubles[i] - upstream * up[i] * derivative) <= abs(upstream * up[i]) * size, "\(kind) at \(z)"
                )
                #expect(abs(alone.doubles[i] - upstream * derivative) <= abs(upstream) * size, "\(kind) at \(z)")
            }
            #expect(u.isIntact && g.isIntact && alone.isIntact)
        }
    }

    @Test(arguments: levels, [Float(1), 30, 50]) func `a soft cap is c tanh of x by c, and its slope`(
        _ level: ProcessorLevel, _ cap: Float
    ) {
        for count in counts {
            var x = randomMatrix(1, count, seed: 36, from: -4 * cap, to: 4 * cap).values
            for (i, value) in ([0, 1e-20, -1e-3, 0.3, 1e30, -1e30] as [Float]).enumerated() where i < count {
                x[i] = value
            }
            let (row, slopes) = (GuardedRow(x), GuardedRow([Float](repeating: 0, count: count)))
            level.kernels.softCap(row.pointer, slopes.pointer, cap, count)
            for i in 0..<count {
                let t = tanh(Double(x[i]) / Double(cap))
                // Relative, also near 0, where the identity is what counts.
                #expect(abs(row.doubles[i] - Double(cap) * t) <= (polynomial + 4 * rounding) * Double(cap) * abs(t))
                #expect(abs(slopes.doubles[i] - (1 - t * t)) <= 2 * (polynomial + 4 * rounding))
            }
            #expect(row.isIntact && slopes.isIntact)
        }
    }

    @Test(arguments: levels, kinds) func `a NaN stays visible`(_ level: ProcessorLevel, _ kind: Activation) {
        for count in [1, 16] {
            let row = GuardedRow([Float](repeating: .nan, count: count)),
                out = GuardedRow([Float](repeating: 0, count: count))
            level.kernels.activate(out.pointer, row.pointer, nil, kind, count)
            #expect(out.values.allSatisfy { $0.isNaN })
            level.kernels.softCap(row.pointer, nil, 30, count)
            #expect(row.values.allSatisfy { $0.isNaN })
        }
    }
}
