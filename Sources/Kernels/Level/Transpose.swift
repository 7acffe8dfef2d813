func transpose(
    _ y: UnsafeMutablePointer<Float>, _ strideY: Int, _ x: UnsafePointer<Float>, _ strideX: Int, _ rows: Int,
    _ columns: Int
) {
    // Tiles of 4 × 4 are turned in registers: writing single floats a stride apart is four times slower.
    @inline(__always)
    func four(_ r: Int, _ c: Int) -> SIMD4<Float> {
        UnsafeRawPointer(x + r * strideX + c).loadUnaligned(as: SIMD4<Float>.self)
    }
    @inline(__always)
    func put(_ v: SIMD4<Float>, _ r: Int, _ c: Int) {
        UnsafeMutableRawPointer(y + c * strideY + r).storeBytes(of: v, as: SIMD4<Float>.self)
    }
    let (fullRows, fullColumns) = (rows & ~3, columns & ~3)
    var c = 0
    while c < fullColumns {
        var r = 0
        while r < fullRows {
            let (p, q, s, t) = (four(r, c), four(r + 1, c), four(r + 2, c), four(r + 3, c))
            put(SIMD4(p.x, q.x, s.x, t.x), r, c)
            put(SIMD4(p.y, q.y, s.y, t.y), r, c + 1)
            put(SIMD4(p.z, q.z, s.z, t.z), r, c + 2)
            put(SIMD4(p.w, q.w, s.w, t.w), r, c + 3)
            r += 4
        }
        c += 4
    }
    for r in 0..<rows {
        let first = r < fullRows ? fullColumns : 0
        for c in first..<columns { y[c * strideY + r] = x[r * strideX + c] }
    }
}
