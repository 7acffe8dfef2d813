/// e^x in single precision, relative error below 3e-6 for every x that does not overflow; 0 below −87.3.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2. Adding 1.5·2²³ rounds n to an integer and leaves it in the low bits, which
/// avoids a float-to-integer conversion that SIMD16 does not have. ln 2 is split in two so that r keeps its bits.
@inline(__always)
func exponential(_ x: V) -> V {
    let magic = V(repeating: 12_582_912)
    var clamped = x
    clamped.replace(with: -87.3, where: x .< -87.3)
    clamped.replace(with: 88.3, where: x .> 88.3)
    let shifted = clamped * 1.442_695_04 + magic
    let n = shifted - magic
    var r = multiplyAdd(clamped, n, V(repeating: -0.693_359_375))
    r = multiplyAdd(r, n, V(repeating: 2.121_944_4e-4))
    var p = V(repeating: 1.987_569_1e-4)
    p = multiplyAdd(V(repeating: 1.398_199_9e-3), p, r)
    p = multiplyAdd(V(repeating: 8.333_452e-3), p, r)
    p = multiplyAdd(V(repeating: 4.166_579_6e-2), p, r)
    p = multiplyAdd(V(repeating: 1.666_666_5e-1), p, r)
    p = multiplyAdd(V(repeating: 0.5), p, r)
    p = multiplyAdd(r + 1, p, r * r)
    let exponent = (unsafeBitCast(shifted, to: SIMD16<Int32>.self) &+ 127) &<< 23
    var result = p * unsafeBitCast(exponent, to: V.self)
    result.replace(with: 0, where: x .< -87.3)
    return result
}

@inline(__always)
func exponential(_ x: Float) -> Float { exponential(V(repeating: x))[0] }

func exponentialSum(_ x: UnsafeMutablePointer<Float>, _ shift: Float, _ count: Int) -> Double {
    let s = V(repeating: shift)
    var total = 0.0
    var i = 0
    // The partial sums of 4096 terms stay in single precision: their rounding is far below that of the terms.
    while i + 16 <= count {
        let end = min(count - 15, i + 4096)
        var sum = V.zero
        while i < end {
            let e = exponential(load(x, i) - s)
            store(e, x, i)
            sum += e
            i += 16
        }
        total += Double(horizontalSum(sum))
    }
    while i < count {
        x[i] = exponential(x[i] - shift)
        total += Double(x[i])
        i += 1
    }
    return total
}
