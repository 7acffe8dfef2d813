import KernelTable

// What the elements of a block are, by the formulas of ggml's reference code (`ggml-quants.c`).
//
// Each product and sum is one single-precision operation, in the reference's order and fused in no instruction set, so that a model
// has the same bits here as elsewhere. d and m are stored in half precision:
//
//     Q4_0   d (q − 8)            Q4_1   d q + m
//     Q5_0   d (q − 16)           Q5_1   d q + m           Q8_0   d q
//     Q2_K   (d s) q − (m t)      Q4_K, Q5_K   (d s) q − (m t)
//     Q3_K   (d (s − 32)) (q − 4)                          Q6_K   (d s) (q − 32)
//
// with s and t the scale and minimum of an element's group of 16 (Q2_K, Q3_K, Q6_K) or 32. Loops run over elements whose bits lie in
// the same place of neighbouring bytes: the compiler makes vectors of them.

func expand(
    _ source: UnsafeRawPointer, _ format: NumberFormat, _ target: UnsafeMutablePointer<Float>, _ count: Int
) {
    switch format {
    case .f32: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: count * 4)
    case .f16: for i in 0..<count { target[i] = half(source, 2 * i) }
    case .bf16: for i in 0..<count { target[i] = Float(bitPattern: UInt32(word(source, 2 * i)) << 16) }
    default:
        let (length, bytes) = (format.blockLength, format.blockBytes)
        for block in 0..<count / length { expandBlock(source + block * bytes, format, target + block * length) }
    }
}

@inline(__always)
private func expandBlock(
    _ block: UnsafeRawPointer, _ format: NumberFormat, _ output: UnsafeMutablePointer<Float>
) {
    switch format {
    case .q4_0: expandNibbles(block + 2, fifth: 0, scale: half(block, 0), less: 8, plus: nil, output)
    case .q4_1: expandNibbles(block + 4, fifth: 0, scale: half(block, 0), less: nil, plus: half(block, 2), output)
    case .q5_0:
        expandNibbles(block + 6, fifth: bits(block + 2), scale: half(block, 0), less: 16, plus: nil, output)
    case .q5_1:
        expandNibbles(block + 8, fifth: bits(block + 4), scale: half(block, 0), less: nil, plus: half(block, 2), output)
    case .q8_0:
        let d = half(block, 0)
        for i in 0..<32 { output[i] = d * Float(block.load(fromByteOffset: 2 + i, as: Int8.self)) }
    case .q2_k: expandQ2K(block, output)
    case .q3_k: expandQ3K(block, output)
    case .q4_k: expandQ4K(block, output, quants: 16, fifthBits: nil)
    case .q5_k: expandQ4K(block, output, quants: 48, fifthBits: 16)
    case .q6_k: expandQ6K(block, output)
    case .f32, .f16, .bf16: break
    }
}

/// 32 elements in 16 bytes, the low nibbles first; bit i of `fifth` is element i's fifth.
@inline(__always)
private func expandNibbles(
    _ bytes: UnsafeRawPointer, fifth: UInt32, scale d: Float, less: Float?, plus m: Float?,
    _ output: UnsafeMutablePointer<Float>
) {
    for part in 0..<2 {
        for i in 0..<16 {
            let low = UInt32(byte(bytes, i)) >> UInt32(4 * part) & 15
            let quant = Float(Int32(bitPattern: low | (fifth >> UInt32(16 * part + i) & 1) << 4))
            if let less { output[16 * part + i] = d * (quant - less) }
            if let m { output[16 * part + i] = d * quant + m }
        }
    }
}

/// 16 bytes of scale (low) and minimum (high), 64 of quants, d, m. Of each 128 elements 32 bytes hold element i +
/// 32 k in bits 2k and 2k + 1 of byte i.
@inline(__always)
private func expandQ2K(_ block: UnsafeRawPointer, _ output: UnsafeMutablePointer<Float>) {
    let (d, m) = (half(block, 80), half(block, 82))
    for group in 0..<16 {
        let scales = byte(block, group)
        let (scale, minimum) = (d * Float(scales & 15), m * Float(scales >> 4))
        let (half, quarter, part) = (group / 8, group % 8 / 2, group % 2)
        let (quants, shift) = (block + 16 + 32 * half + 16 * part, UInt8(2 * quarter))
        for i in 0..<16 { output[16 * group + i] = scale * Float(byte(quants, i) >> shift & 3) - minimum }
    }
}

/// 32 bytes of third bits, 64 of quants as in Q2_K, 12 of scales, d. The third bit of element i of a half's quarter
/// k is bit k (second half: 4 + k) of byte i mod 32; where it is not set, 4 is taken off.
@inline(__always)
private func expandQ3K(_ block: UnsafeRawPointer, _ output: UnsafeMutablePointer<Float>) {
    let d = half(block, 108)
    for group in 0..<16 {
        let low = group < 8 ? byte(block, 96 + group) & 15 : byte(block, 88 + group) >> 4
        let high = byte(block, 104 + group % 4) >> UInt8(2 * (group / 4)) & 3
        let scale = d * Float(Int32(low | high << 4) - 32)
        let (half, quarter, part) = (group / 8, group % 8 / 2, group % 2)
        let (quants, thirds) = (block + 32 + 32 * half + 16 * part, block + 16 * part)
        let (shift, third) = (UInt8(2 * quarter), UInt8(group / 2))
        for i in 0..<16 {
            let quant = byte(quants, i) >> shift & 3 | (byte(thirds, i) >> third & 1) << 2
            output[16 * group + i] = scale * Float(Int32(quant) - 4)
        }
    }
}

/// d, m, 12 bytes of scales and minima of 6 bits, then for Q5_K 32 of fifth bits, then 128 of nibbles: 32 bytes for
/// 64 elements, the low nibbles first. The fifth bit of element i of group k is bit k of byte i.
@inline(__always)
private func expandQ4K(
    _ block: UnsafeRawPointer, _ output: UnsafeMutablePointer<Float>, quants: Int, fifthBits: Int?
) {
    let (d, m) = (half(block, 0), half(block, 2))
    for group in 0..<8 {
        let six = sixBits(block + 4, group)
        let (scale, minimum) = (d * Float(six.scale), m * Float(six.minimum))
        let (bytes, shift) = (block + quants + 32 * (group / 2), UInt8(group % 2 * 4))
        for i in 0..<32 {
            var quant = byte(bytes, i) >> shift & 15
            if let fifthBits { quant |= (byte(block, fifthBits + i) >> UInt8(group) & 1) << 4 }
            output[32 * group + i] = scale * Float(quant) - minimum
        }
    }
}

/// Scale and minimum k of eight, of 6 bits each in 12 bytes: those of the first four groups in the low bits of
/// bytes 0–3 and 4–7; of the last four, the lower nibbles of both in bytes 8–11 and the upper two bits on top
/// of the first four's.
@inline(__always)
private func sixBits(_ bytes: UnsafeRawPointer, _ k: Int) -> (scale: UInt8, minimum: UInt8) {
    if k < 4 { return (byte(bytes, k) & 63, byte(bytes, k + 4) & 63) }
    let low = byte(bytes, k + 4)
    return (low & 15 | (byte(bytes, k - 4) >> 6) << 4, low >> 4 | (byte(bytes, k) >> 6) << 4)
}

/// 128 bytes of low nibbles, 64 of upper bits, 16 signed scales, d. Of each 128 elements, element i + 32 k has its
/// nibble in byte i + 32 (k mod 2), the upper one for k ≥ 2, and its other two bits at 2 k of byte i.
@inline(__always)
private func expandQ6K(_ block: UnsafeRawPointer, _ output: UnsafeMutablePointer<Float>) {
    let d = half(block, 208)
    for group in 0..<16 {
        let (half, quarter, part) = (group / 8, group % 8 / 2, group % 2)
        let scale = d * Float(block.load(fromByteOffset: 192 + group, as: Int8.self))
        let nibbles = block + 64 * half + 32 * (quarter % 2) + 16 * part
        let uppers = block + 128 + 32 * half + 16 * part
        let (low, high) = (UInt8(quarter / 2 * 4), UInt8(2 * quarter))
        for i in 0..<16 {
            let quant = byte(nibbles, i) >> low & 15 | (byte(uppers, i) >> high & 3) << 4
            output[16 * group + i] = scale * Float(Int32(quant) - 32)
        }
    }
}

@inline(__always)
private func byte(_ base: UnsafeRawPointer, _ offset: Int) -> UInt8 {
    base.load(fromByteOffset: offset, as: UInt8.self)
}

@inline(__always)
private func word(_ base: UnsafeRawPointer, _ offset: Int) -> UInt16 {
    base.loadUnaligned(fromByteOffset: offset, as: UInt16.self)
}

/// 32 bits, the lowest in the first byte.
@inline(__always)
private func bits(_ base: UnsafeRawPointer) -> UInt32 { base.loadUnaligned(as: UInt32.self) }

/// A binary16 as binary32, exactly.
///
/// Exponent and fraction moved into place denote the value times 2⁻¹¹², subnormals included; an exponent of all
/// ones then needs the upper three exponent bits as well. In integers, because `Float(Float16)` is a library call
/// per element on processors without F16C.
@inline(__always)
private func half(_ base: UnsafeRawPointer, _ offset: Int) -> Float {
    let half = word(base, offset)
    let magnitude = UInt32(half & 0x7FFF) << 13
    let scaled = Float(bitPattern: magnitude) * 0x1p112
    let special: UInt32 = half & 0x7C00 == 0x7C00 ? 0x7F80_0000 : 0
    return Float(bitPattern: (scaled.bitPattern | special) | UInt32(half & 0x8000) << 16)
}
