import CIntrinsics

func dot(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ count: Int) -> Float {
    var s0 = V.zero, s1 = V.zero, s2 = V.zero, s3 = V.zero
    var i = 0
    while i + 64 <= count {
        s0 = multiplyAdd(s0, load(x, i), load(y, i))
        s1 = multiplyAdd(s1, load(x, i + 16), load(y, i + 16))
        s2 = multiplyAdd(s2, load(x, i + 32), load(y, i + 32))
        s3 = multiplyAdd(s3, load(x, i + 48), load(y, i + 48))
        i += 64
    }
    while i + 16 <= count {
        s0 = multiplyAdd(s0, load(x, i), load(y, i))
        i += 16
    }
    var sum = horizontalSum((s0 + s1) + (s2 + s3))
    while i < count {
        sum = multiplyAdd(sum, x[i], y[i])
        i += 1
    }
    return sum
}

func addScaled(_ y: UnsafeMutablePointer<Float>, _ x: UnsafePointer<Float>, _ a: Float, _ count: Int) {
    let va = V(repeating: a)
    var i = 0
    while i + 16 <= count {
        store(multiplyAdd(load(y, i), va, load(x, i)), y, i)
        i += 16
    }
    while i < count {
        y[i] = multiplyAdd(y[i], a, x[i])
        i += 1
    }
}

func addScaled4(
    _ y: UnsafeMutablePointer<Float>, _ x0: UnsafePointer<Float>, _ x1: UnsafePointer<Float>,
    _ x2: UnsafePointer<Float>, _ x3: UnsafePointer<Float>, _ a: SIMD4<Float>, _ count: Int
) {
    let a0 = V(repeating: a.x), a1 = V(repeating: a.y), a2 = V(repeating: a.z), a3 = V(repeating: a.w)
    var i = 0
    while i + 16 <= count {
        var s = load(y, i)
        s = multiplyAdd(s, a0, load(x0, i))
        s = multiplyAdd(s, a1, load(x1, i))
        s = multiplyAdd(s, a2, load(x2, i))
        s = multiplyAdd(s, a3, load(x3, i))
        store(s, y, i)
        i += 16
    }
    while i < count {
        var s = y[i]
        s = multiplyAdd(s, a.x, x0[i])
        s = multiplyAdd(s, a.y, x1[i])
        s = multiplyAdd(s, a.z, x2[i])
        s = multiplyAdd(s, a.w, x3[i])
        y[i] = s
        i += 1
    }
}

func combine(
    _ z: UnsafeMutablePointer<Float>, _ a: Float, _ x: UnsafePointer<Float>, _ b: Float, _ y: UnsafePointer<Float>,
    _ count: Int
) {
    let va = V(repeating: a), vb = V(repeating: b)
    var i = 0
    while i + 16 <= count {
        store(multiplyAdd(va * load(x, i), vb, load(y, i)), z, i)
        i += 16
    }
    while i < count {
        z[i] = multiplyAdd(a * x[i], b, y[i])
        i += 1
    }
}

func scale(_ x: UnsafeMutablePointer<Float>, _ a: Float, _ count: Int) {
    let va = V(repeating: a)
    var i = 0
    while i + 16 <= count {
        store(load(x, i) * va, x, i)
        i += 16
    }
    while i < count {
        x[i] *= a
        i += 1
    }
}

func maximum(_ x: UnsafePointer<Float>, _ count: Int) -> Float {
    var best = V(repeating: -.infinity)
    var i = 0
    while i + 16 <= count {
        let v = load(x, i)
        best.replace(with: v, where: v .> best)
        i += 16
    }
    var result = -Float.infinity
    for lane in 0..<16 where best[lane] > result { result = best[lane] }
    while i < count {
        if x[i] > result { result = x[i] }
        i += 1
    }
    return result
}

func sumInDouble(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>?, _ count: Int) -> Double {
    if let y { return dmsae_sum_in_double(x, y, count) }
    return dmsae_sum_in_double(x, nil, count)
}
