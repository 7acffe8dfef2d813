import Glibc
import Kernels
import TestSupport
import Testing

/// Adam (arXiv:1412.6980) over several steps against the formula in Double.
///
/// Each step adds a few roundings: of m and v relative to the gradients in them, and of p relative to p. An update is
/// at most about the learning rate in size, so the bound is 2e-6 of the learning rate and one rounding of p per step.
@Test(arguments: levels, counts) func adamFollowsTheFormula(_ level: ProcessorLevel, _ count: Int) {
    for along in [0, 0.13] { checkAdam(level, count, along: along) }
}

private func checkAdam(_ level: ProcessorLevel, _ count: Int, along: Double) {
    let (beta1, beta2, epsilon, rate, clip) = (0.9, 0.999, 1e-8, 1e-3, 0.31)
    let p = GuardedRow(random: count, seed: 40)
    let (m, v) = (
        GuardedRow([Float](repeating: 0, count: count)), GuardedRow([Float](repeating: 0, count: count))
    )
    var (dp, dm, dv) = (p.doubles, m.doubles, v.doubles)
    for t in 1...5 {
        var gradients = randomMatrix(1, count, seed: 40 + UInt64(t)).values
        // A parameter without gradient still moves by its decaying moments; one that never had any stays.
        if count > 2 && t > 2 { gradients[1] = 0 }
        if count > 2 { gradients[2] = 0 }
        let g = GuardedRow(gradients)
        var step = AdamStep(
            beta1: Float(beta1), beta2: Float(beta2), epsilon: Float(epsilon),
            stepSize: Float(rate / (1 - pow(beta1, Double(t)))),
            inverseRootCorrection: Float(1 / (1 - pow(beta2, Double(t))).squareRoot()), gradientScale: Float(clip))
        step.along = Float(along)
        level.kernels.adam(p.pointer, g.pointer, m.pointer, v.pointer, count, step)
        // The constants as the kernel has them: 1 − β₂ in single precision is off by 1e-5 of itself.
        let (b1, b2, scale) = (Double(step.beta1), Double(step.beta2), Double(step.gradientScale))
        for i in 0..<count {
            let gradient = scale * g.doubles[i] - Double(step.along) * dp[i]
            dm[i] = b1 * dm[i] + (1 - b1) * gradient
            dv[i] = b2 * dv[i] + (1 - b2) * gradient * gradient
            dp[i] -= Double(step.stepSize) * dm[i] / (dv[i].squareRoot() * Double(step.inverseRootCorrection) + epsilon)
            let bound = Double(t) * (2e-6 * rate + rounding * max(abs(dp[i]), 1))
            #expect(abs(p.doubles[i] - dp[i]) <= bound, "step \(t), parameter \(i)")
        }
        #expect(p.isIntact && m.isIntact && v.isIntact && g.values == gradients)
    }
    // Without a part along the row.
    if count > 2 && along == 0 { #expect(p.values[2] == GuardedRow(random: count, seed: 40).values[2]) }
}
