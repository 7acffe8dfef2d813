func rotate(
    _ row: UnsafeMutablePointer<Float>, _ cosines: UnsafePointer<Float>, _ sines: UnsafePointer<Float>, _ sign: Float,
    _ half: Int, _ heads: Int, _ stride: Int
) {
    let vs = V(repeating: sign)
    for head in 0..<heads {
        let a = row + head * stride
        let b = a + half
        var i = 0
        while i + 16 <= half {
            let (x, y) = (load(a, i), load(b, i))
            let c = load(cosines, i), s = load(sines, i) * vs
            store(x * c - y * s, a, i)
            store(multiplyAdd(y * c, x, s), b, i)
            i += 16
        }
        while i < half {
            let (x, y) = (a[i], b[i])
            let s = sines[i] * sign
            a[i] = x * cosines[i] - y * s
            b[i] = multiplyAdd(y * cosines[i], x, s)
            i += 1
        }
    }
}
