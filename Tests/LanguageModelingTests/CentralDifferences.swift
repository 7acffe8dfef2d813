/// The gradient of `function` at `x` by central differences in Double: with steps of 1e-5 on values near 1, the
/// error is about 1e-10 (the cube term of the series) plus 1e-11 (rounding).
func centralDifferences(_ x: [Double], _ function: ([Double]) -> Double) -> [Double] {
    let step = 1e-5
    return x.indices.map { i in
        var (above, below) = (x, x)
        above[i] += step
        below[i] -= step
        return (function(above) - function(below)) / (2 * step)
    }
}

/// `count` numbers between −1 and 1, the same for the same seed.
func noise(_ count: Int, seed: UInt64) -> [Float] {
    var state = seed &* 0x9E37_79B9_7F4A_7C15
    return (0..<count).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Float(Int32(truncatingIfNeeded: state >> 32)) / Float(1 << 31)
    }
}
