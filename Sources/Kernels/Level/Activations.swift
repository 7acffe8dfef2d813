import KernelTable

// SiLU is z·σ(z). GELU by tanh is z·σ(s) with s = 2√(2/π)·(z + 0.044715 z³), since (1 + tanh u)/2 = σ(2u): the same
// function of another argument. GELU proper is z·Φ(z), Φ of the normal distribution.
//
// What is not inlined is not private: the compiler would make weak code of it, of which the linker may
// keep the wrong copy.

private let linear: Float = 1.595_769_1
private let cubic: Float = 0.071_354_814

/// Of what the sigmoid is taken: z, or s.
@inline(__always)
private func argument(_ kind: Activation, _ z: V) -> V {
    kind == .silu ? z : z * multiplyAdd(V(repeating: linear), V(repeating: cubic), z * z)
}

/// ∂s/∂z. Beyond ±20 it multiplies a zero, σ(s)(1 − σ(s)), and must not be infinite.
@inline(__always)
private func slope(_ z: V) -> V {
    var near = z
    near.replace(with: -20, where: z .< -20)
    near.replace(with: 20, where: z .> 20)
    return multiplyAdd(V(repeating: linear), V(repeating: 3 * cubic), near * near)
}

/// Φ(z) and φ(z), the former to 1.5e-7: Abramowitz and Stegun, 7.1.26, of |z|/√2.
func normal(_ z: V) -> (distribution: V, density: V) {
    var size = z
    size.replace(with: -z, where: z .< 0)
    let t = 1 / multiplyAdd(V(repeating: 1), V(repeating: 0.327_591_1 * 0.707_106_77), size)
    var p = V(repeating: 1.061_405_4)
    p = multiplyAdd(V(repeating: -1.453_152), p, t)
    p = multiplyAdd(V(repeating: 1.421_413_7), p, t)
    p = multiplyAdd(V(repeating: -0.284_496_74), p, t)
    p = multiplyAdd(V(repeating: 0.254_829_6), p, t)
    let bell = exponential(z * z * -0.5)
    let tail = p * t * bell * 0.5
    var distribution = tail
    distribution.replace(with: 1 - tail, where: z .> 0)
    return (distribution, bell * 0.398_942_28)
}

func activated(_ kind: Activation, _ z: V) -> V {
    kind == .gelu ? z * normal(z).distribution : z / (exponential(-argument(kind, z)) + 1)
}

/// The activation without its factor z, and du·(z·g)′ for a gradient du.
func backward(_ kind: Activation, _ z: V, _ du: V) -> (gate: V, dz: V) {
    if kind == .gelu {
        let (distribution, density) = normal(z)
        return (distribution, du * multiplyAdd(distribution, z, density))
    }
    let sigmoid = 1 / (exponential(-argument(kind, z)) + 1)
    let rate = kind == .silu ? z : z * slope(z)
    return (sigmoid, du * sigmoid * (rate * (1 - sigmoid) + 1))
}

func activate(
    _ kind: Activation, _ out: UnsafeMutablePointer<Float>, _ z: UnsafePointer<Float>, _ up: UnsafePointer<Float>?,
    _ count: Int
) {
    var i = 0
    while i + 16 <= count {
        let y = activated(kind, load(z, i))
        if let up { store(y * load(up, i), out, i) } else { store(y, out, i) }
        i += 16
    }
    while i < count {
        let y = activated(kind, V(repeating: z[i]))[0]
        if let up { out[i] = y * up[i] } else { out[i] = y }
        i += 1
    }
}

func activate(
    _ out: UnsafeMutablePointer<Float>, _ z: UnsafePointer<Float>, _ up: UnsafePointer<Float>?, _ kind: Activation,
    _ count: Int
) {
    switch kind {
    case .silu: activate(.silu, out, z, up, count)
    case .geluTanh: activate(.geluTanh, out, z, up, count)
    case .gelu: activate(.gelu, out, z, up, count)
    }
}

// out = z·g(z)·u  ⇒  du = dout·z·g(z);  dz = dout·u·(z·g)′
func activateBackward(
    _ kind: Activation, _ dout: UnsafePointer<Float>, _ z: UnsafeMutablePointer<Float>,
    _ up: UnsafeMutablePointer<Float>?, _ count: Int
) {
    var i = 0
    while i + 16 <= count {
        let g = load(z, i), d = load(dout, i)
        if let up {
            let (gate, dz) = backward(kind, g, d * load(up, i))
            store(d * g * gate, up, i)
            store(dz, z, i)
        } else {
            store(backward(kind, g, d).dz, z, i)
        }
        i += 16
    }
    while i < count {
        let g = z[i], d = dout[i]
        let (gate, dz) = backward(kind, V(repeating: g), V(repeating: up == nil ? d : d * up![i]))
        if let up { up[i] = d * g * gate[0] }
        z[i] = dz[0]
        i += 1
    }
}

func activateBackward(
    _ dout: UnsafePointer<Float>, _ z: UnsafeMutablePointer<Float>, _ up: UnsafeMutablePointer<Float>?,
    _ kind: Activation, _ count: Int
) {
    switch kind {
    case .silu: activateBackward(.silu, dout, z, up, count)
    case .geluTanh: activateBackward(.geluTanh, dout, z, up, count)
    case .gelu: activateBackward(.gelu, dout, z, up, count)
    }
}
