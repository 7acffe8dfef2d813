/// What the elements of a block are, by the formulas of ggml's reference code (`ggml-quants.c`).
///
/// Each product and sum is one single-precision operation, in the reference's order, so that a model has the same bits
/// here as elsewhere. d and m are stored in half precision:
///
///     Q4_0   d (q − 8)            Q4_1   d q + m
///     Q5_0   d (q − 16)           Q5_1   d q + m           Q8_0   d q
///     Q2_K   (d s) q − (m t)      Q4_K, Q5_K   (d s) q − (m t)
///     Q3_K   (d (s − 32)) (q − 4)                          Q6_K   (d s) (q − 32)
///
/// with s and t the scale and minimum of an element's group of 16 (Q2_K, Q3_K, Q6_K) or 32.
enum GGUFBlocks {
    /// Writes `count` elements stored as `type` at `source`, whole blocks of them, to `target`.
    static func expand(
        _ source: UnsafeRawPointer, _ type: GGUFElementType, into target: UnsafeMutablePointer<Float>, count: Int
    ) {
        func blocks(_ expandOne: (UnsafeRawPointer, UnsafeMutablePointer<Float>) -> Void) {
            for block in 0..<count / type.blockLength {
                expandOne(source + block * type.blockBytes, target + block * type.blockLength)
            }
        }
        switch type {
        case .f32: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: count * 4)
        case .f16: for i in 0..<count { target[i] = half(source, 2 * i) }
        case .bf16: for i in 0..<count { target[i] = Float(bitPattern: UInt32(word(source, 2 * i)) << 16) }
        case .q4_0:
            blocks { block, output in
                let d = half(block, 0)
                for i in 0..<32 { output[i] = d * (Float(nibble(block + 2, i)) - 8) }
            }
        case .q4_1:
            blocks { block, output in
                let (d, m) = (half(block, 0), half(block, 2))
                for i in 0..<32 { output[i] = d * Float(nibble(block + 4, i)) + m }
            }
        case .q5_0:
            blocks { block, output in
                let d = half(block, 0)
                for i in 0..<32 { output[i] = d * (Float(nibble(block + 6, i) | fifthBit(block + 2, i)) - 16) }
            }
        case .q5_1:
            blocks { block, output in
                let (d, m) = (half(block, 0), half(block, 2))
                for i in 0..<32 { output[i] = d * Float(nibble(block + 8, i) | fifthBit(block + 4, i)) + m }
            }
        case .q8_0:
            blocks { block, output in
                let d = half(block, 0)
                for i in 0..<32 { output[i] = d * Float(block.load(fromByteOffset: 2 + i, as: Int8.self)) }
            }
        case .q2_k: blocks(expandQ2K)
        case .q3_k: blocks(expandQ3K)
        case .q4_k: blocks { expandQ4K($0, into: $1, quants: 16, fifthBits: nil) }
        case .q5_k: blocks { expandQ4K($0, into: $1, quants: 48, fifthBits: 16) }
        case .q6_k: blocks(expandQ6K)
        }
    }

    /// 16 bytes of scale (low) and minimum (high), 64 of quants, d, m. Of each 128 elements 32 bytes hold element i +
    /// 32 k in bits 2k and 2k + 1 of byte i.
    private static func expandQ2K(_ block: UnsafeRawPointer, into output: UnsafeMutablePointer<Float>) {
        let (d, m) = (half(block, 80), half(block, 82))
        for group in 0..<16 {
            let scales = byte(block, group)
            let (scale, minimum) = (d * Float(scales & 15), m * Float(scales >> 4))
            forEach(ofGroup: group) { at, source, shift in
                output[at] = scale * Float(byte(block, 16 + source) >> shift & 3) - minimum
            }
        }
    }

    /// 32 bytes of third bits, 64 of quants as in Q2_K, 12 of scales, d. The third bit of element i of a half's quarter
    /// k is bit k (second half: 4 + k) of byte i mod 32; where it is not set, 4 is taken off.
    private static func expandQ3K(_ block: UnsafeRawPointer, into output: UnsafeMutablePointer<Float>) {
        let d = half(block, 108)
        for group in 0..<16 {
            let low = group < 8 ? byte(block, 96 + group) & 15 : byte(block, 88 + group) >> 4
            let high = byte(block, 104 + group % 4) >> UInt8(2 * (group / 4)) & 3
            let scale = d * Float(Int(low | high << 4) - 32)
            forEach(ofGroup: group) { at, source, shift in
                let quant = Int(byte(block, 32 + source) >> shift & 3)
                let isSet = byte(block, at % 32) >> UInt8(at / 32) & 1 != 0
                output[at] = scale * Float(isSet ? quant : quant - 4)
            }
        }
    }

    /// The 16 elements of a group of Q2_K or Q3_K: where each goes, and the byte and shift that its two bits have.
    @inline(__always)
    private static func forEach(ofGroup group: Int, _ body: (_ at: Int, _ source: Int, _ shift: UInt8) -> Void) {
        let (half, quarter, part) = (group / 8, group % 8 / 2, group % 2)
        for i in 0..<16 {
            body(128 * half + 32 * quarter + 16 * part + i, 32 * half + 16 * part + i, UInt8(2 * quarter))
        }
    }

    /// d, m, 12 bytes of scales and minima of 6 bits, then for Q5_K 32 of fifth bits, then 128 of nibbles: 32 bytes for
    /// 64 elements, the low nibbles first. The fifth bit of element i of group k is bit k of byte i.
    private static func expandQ4K(
        _ block: UnsafeRawPointer, into output: UnsafeMutablePointer<Float>, quants: Int, fifthBits: Int?
    ) {
        let (d, m) = (half(block, 0), half(block, 2))
        for group in 0..<8 {
            let six = sixBits(block + 4, group)
            let (scale, minimum) = (d * Float(six.scale), m * Float(six.minimum))
            for i in 0..<32 {
                let pair = byte(block, quants + 32 * (group / 2) + i)
                var quant = group % 2 == 0 ? pair & 15 : pair >> 4
                if let fifthBits { quant |= (byte(block, fifthBits + i) >> UInt8(group) & 1) << 4 }
                output[32 * group + i] = scale * Float(quant) - minimum
            }
        }
    }

    /// Scale and minimum k of eight, of 6 bits each in 12 bytes: those of the first four groups in the low bits of
    /// bytes 0–3 and 4–7; of the last four, the lower nibbles of both in bytes 8–11 and the upper two bits on top
    /// of the first four's.
    @inline(__always)
    private static func sixBits(_ bytes: UnsafeRawPointer, _ k: Int) -> (scale: UInt8, minimum: UInt8) {
        if k < 4 { return (byte(bytes, k) & 63, byte(bytes, k + 4) & 63) }
        let low = byte(bytes, k + 4)
        return (low & 15 | (byte(bytes, k - 4) >> 6) << 4, low >> 4 | (byte(bytes, k) >> 6) << 4)
    }

    /// 128 bytes of low nibbles, 64 of upper bits, 16 signed scales, d. Of each 128 elements, element i + 32 k has its
    /// nibble in byte i + 32 (k mod 2), the upper one for k ≥ 2, and its other two bits at 2 k of byte i.
    private static func expandQ6K(_ block: UnsafeRawPointer, into output: UnsafeMutablePointer<Float>) {
        let d = half(block, 208)
        for half in 0..<2 {
            for quarter in 0..<4 {
                for i in 0..<32 {
                    let pair = byte(block, 64 * half + 32 * (quarter % 2) + i)
                    let low = quarter < 2 ? pair & 15 : pair >> 4
                    let high = byte(block, 128 + 32 * half + i) >> UInt8(2 * quarter) & 3
                    let scale = block.load(fromByteOffset: 192 + 8 * half + 2 * quarter + i / 16, as: Int8.self)
                    output[128 * half + 32 * quarter + i] = d * Float(scale) * Float(Int(low | high << 4) - 32)
                }
            }
        }
    }

    /// Element i of 32 in 16 bytes: the low nibbles first.
    @inline(__always)
    private static func nibble(_ bytes: UnsafeRawPointer, _ i: Int) -> UInt8 {
        i < 16 ? byte(bytes, i) & 15 : byte(bytes, i - 16) >> 4
    }

    /// Bit i of 32, as the fifth.
    @inline(__always)
    private static func fifthBit(_ bytes: UnsafeRawPointer, _ i: Int) -> UInt8 {
        (byte(bytes, i / 8) >> UInt8(i % 8) & 1) << 4
    }

    @inline(__always)
    private static func byte(_ base: UnsafeRawPointer, _ offset: Int) -> UInt8 {
        base.load(fromByteOffset: offset, as: UInt8.self)
    }

    @inline(__always)
    private static func word(_ base: UnsafeRawPointer, _ offset: Int) -> UInt16 {
        UInt16(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    @inline(__always)
    private static func half(_ base: UnsafeRawPointer, _ offset: Int) -> Float { widenHalf(word(base, offset)) }
}
