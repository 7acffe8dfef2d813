import CIntrinsics

/// Sixteen floats at a time: one AVX-512 register, two AVX2 registers or four SSE registers.
typealias V = SIMD16<Float>

@inline(__always)
func load(_ p: UnsafePointer<Float>, _ i: Int) -> V {
    UnsafeRawPointer(p + i).loadUnaligned(as: V.self)
}

@inline(__always)
func store(_ v: V, _ p: UnsafeMutablePointer<Float>, _ i: Int) {
    UnsafeMutableRawPointer(p + i).storeBytes(of: v, as: V.self)
}

/// a + b·c, fused where the instruction set has it: without it `addingProduct` is a libm call per element.
@inline(__always)
func multiplyAdd(_ a: V, _ b: V, _ c: V) -> V {
    #if FUSED_MULTIPLY_ADD
        return a.addingProduct(b, c)
    #else
        return a + b * c
    #endif
}

@inline(__always)
func multiplyAdd(_ a: Float, _ b: Float, _ c: Float) -> Float {
    #if FUSED_MULTIPLY_ADD
        return a.addingProduct(b, c)
    #else
        return a + b * c
    #endif
}

/// Sum of the sixteen, halves first.
@inline(__always)
func horizontalSum(_ v: V) -> Float { dmsae_horizontal_sum(v) }

/// The sums of the sixteen of each.
@inline(__always)
func fourSums(_ a: V, _ b: V, _ c: V, _ d: V) -> SIMD4<Float> { dmsae_four_sums(a, b, c, d) }
