/// NumPy's `RandomState`, as far as sae-probes draws from it: so that rows are split exactly as there, and results can be laid beside its own.
///
/// MT19937 (Matsumoto and Nishimura 1998), seeded and shuffled as NumPy's legacy generator does and will for good (NEP 19).
package struct NumpyRandom {
    private var state = [UInt32](repeating: 0, count: 624)
    private var next = 624

    /// `numpy.random.RandomState(seed)`.
    package init(seed: UInt32) {
        state[0] = seed
        for i in 1..<624 {
            state[i] = 1_812_433_253 &* (state[i - 1] ^ (state[i - 1] >> 30)) &+ UInt32(i)
        }
    }

    private mutating func word() -> UInt32 {
        if next == 624 {
            for i in 0..<624 {
                let y = (state[i] & 0x8000_0000) | (state[(i + 1) % 624] & 0x7FFF_FFFF)
                state[i] = state[(i + 397) % 624] ^ (y >> 1) ^ (y & 1 == 0 ? 0 : 0x9908_B0DF)
            }
            next = 0
        }
        var y = state[next]
        next += 1
        y ^= y >> 11
        y ^= (y << 7) & 0x9D2C_5680
        y ^= (y << 15) & 0xEFC6_0000
        return y ^ (y >> 18)
    }

    /// One of 0...last, by drawing until a number is small enough.
    private mutating func below(through last: UInt32) -> UInt32 {
        if last == 0 { return 0 }
        let mask = UInt32.max >> UInt32(last.leadingZeroBitCount)
        while true {
            let value = word() & mask
            if value <= last { return value }
        }
    }

    /// `permutation(values)`.
    package mutating func permutation(_ values: [Int]) -> [Int] {
        var result = values
        for i in stride(from: result.count - 1, to: 0, by: -1) { result.swapAt(i, Int(below(through: UInt32(i)))) }
        return result
    }

    /// `choice(values, size=count, replace=False)`.
    package mutating func choice(_ values: [Int], count: Int) -> [Int] {
        permutation(Array(values.indices)).prefix(count).map { values[$0] }
    }
}
