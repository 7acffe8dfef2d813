/// Counts of scores by sign, exponent and the first seven bits of the significand: what is kept of a latent's scores
/// when keeping all of them would take too much memory.
///
/// A score stands for the middle of its bin, [2ᵉ(1 + i/128), 2ᵉ(1 + (i+1)/128)), so every order statistic, and every
/// quantile and trimmed mean made of them, is off by at most 2⁻⁸ of its value. Counts do not depend on the order of
/// scores, so neither does anything made of them. A bin is the upper half of the float's bits, so nothing is computed
/// to find it; DDSketch (Masson, Rim, Lee, VLDB 2019) takes a logarithm for bins of exactly equal ratio, which bounds
/// the same error with a third fewer of them. Only exponents that occur take memory: 512 bytes each.
struct ScoreHistogram {
    /// Counts of one sign and exponent, by the upper half of the bits without its last seven.
    private var blocks: [UInt16: [UInt32]] = [:]

    /// The largest relative error of an order statistic.
    static let error = 0x1p-8

    mutating func add(_ score: Float) {
        let bin = UInt16(truncatingIfNeeded: score.bitPattern >> 16)
        blocks[bin >> 7, default: [UInt32](repeating: 0, count: 128)][Int(bin & 127)] += 1
    }

    /// Values that stand for the scores, in falling order, with how many there are of each.
    var descending: (values: [Float], counts: [Int]) {
        var found: [(value: Float, count: Int)] = []
        for (block, counts) in blocks {
            for (i, count) in counts.enumerated() where count > 0 {
                let bits = UInt32(block) << 23 | UInt32(i) << 16
                // A zero is a zero: scores that vanish are many.
                let middle = Float(bitPattern: bits & 0x7FFF_FFFF == 0 ? 0 : bits | 0x8000)
                found.append((middle, Int(count)))
            }
        }
        found.sort { $0.value > $1.value }
        return (found.map(\.value), found.map(\.count))
    }
}
