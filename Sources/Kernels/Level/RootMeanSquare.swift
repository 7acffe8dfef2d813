/// Eight doubles of eight floats.
@inline(__always)
private func wide(_ x: SIMD8<Float>) -> SIMD8<Double> { SIMD8<Double>(x) }

// Sums in Double, where a product of two floats is exact: one attention sink puts a square of 4e8 beside terms of 1.

func normalize(
    _ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ w: UnsafePointer<Float>, _ epsilon: Double,
    _ count: Int
) {
    var low = SIMD8<Double>.zero, high = SIMD8<Double>.zero
    var i = 0
    while i + 16 <= count {
        let a = load(x, i)
        let (l, h) = (wide(a.lowHalf), wide(a.highHalf))
        low += l * l
        high += h * h
        i += 16
    }
    var squares = (low + high).sum()
    while i < count {
        squares += Double(x[i]) * Double(x[i])
        i += 1
    }
    let r = Float(1 / (squares / Double(count) + epsilon).squareRoot())
    let vr = V(repeating: r)
    i = 0
    while i + 16 <= count {
        store(load(w, i) * (load(x, i) * vr), y, i)
        i += 16
    }
    while i < count {
        y[i] = w[i] * (x[i] * r)
        i += 1
    }
}

// forward:  yᵢ = wᵢ xᵢ r,  r = (Σ xₖ²/d + ε)^(−1/2),  so  ∂r/∂xₖ = −r³ xₖ/d
// ∂L/∂xᵢ = r wᵢ dyᵢ − xᵢ (r³/d) Σₖ wₖ dyₖ xₖ
func normalizeBackward(
    _ dx: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ w: UnsafePointer<Float>,
    _ dy: UnsafePointer<Float>, _ epsilon: Double, _ count: Int
) {
    var squares8 = SIMD8<Double>.zero, along8 = SIMD8<Double>.zero
    var i = 0
    while i + 16 <= count {
        let a = load(x, i), g = load(w, i) * load(dy, i)
        let (l, h) = (wide(a.lowHalf), wide(a.highHalf))
        squares8 += l * l + h * h
        along8 += l * wide(g.lowHalf) + h * wide(g.highHalf)
        i += 16
    }
    var squares = squares8.sum(), along = along8.sum()
    while i < count {
        squares += Double(x[i]) * Double(x[i])
        along += Double(x[i]) * Double(w[i] * dy[i])
        i += 1
    }
    let r = 1 / (squares / Double(count) + epsilon).squareRoot()
    let a = Float(r), b = Float(-r * r * r / Double(count) * along)
    let va = V(repeating: a), vb = V(repeating: b)
    i = 0
    while i + 16 <= count {
        let scaled = multiplyAdd(load(dx, i), va, load(w, i) * load(dy, i))
        store(multiplyAdd(scaled, vb, load(x, i)), dx, i)
        i += 16
    }
    while i < count {
        dx[i] = multiplyAdd(multiplyAdd(dx[i], a, w[i] * dy[i]), b, x[i])
        i += 1
    }
}
