/// tanh z. Near 0, where 1 − 2/(e²ᶻ + 1) would cancel, the polynomial of Cephes' tanhf.
func hyperbolicTangent(_ z: V) -> V {
    let square = z * z
    var p = V(repeating: -5.704_988_7e-3)
    p = multiplyAdd(V(repeating: 2.063_908_9e-2), p, square)
    p = multiplyAdd(V(repeating: -5.373_971_6e-2), p, square)
    p = multiplyAdd(V(repeating: 1.333_144_2e-1), p, square)
    p = multiplyAdd(V(repeating: -3.333_328_2e-1), p, square)
    let near = multiplyAdd(z, p * square, z)
    var result = 1 - 2 / (exponential(z + z) + 1)
    result.replace(with: near, where: square .< 0.390_625)
    return result
}

// y = c·tanh(x/c)  ⇒  dy/dx = 1 − tanh²
func softCap(_ x: UnsafeMutablePointer<Float>, _ slopes: UnsafeMutablePointer<Float>?, _ cap: Float, _ count: Int) {
    var i = 0
    while i + 16 <= count {
        let t = hyperbolicTangent(load(x, i) / cap)
        store(t * cap, x, i)
        if let slopes { store(1 - t * t, slopes, i) }
        i += 16
    }
    while i < count {
        let t = hyperbolicTangent(V(repeating: x[i] / cap))[0]
        x[i] = t * cap
        if let slopes { slopes[i] = 1 - t * t }
        i += 1
    }
}
