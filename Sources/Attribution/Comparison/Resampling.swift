import LinearAlgebra

/// Sequences drawn again, to see how much a number owes to those that were drawn at first.
package struct Resampling: Sendable {
    private let random: CounterRandom
    private let count: Int

    /// Draws from `count` sequences.
    package init(sequences count: Int, seed: UInt64, purpose: CounterRandom.Purpose, draw: Int) {
        random = CounterRandom(seed: seed, purpose: purpose, step: UInt32(draw))
        self.count = count
    }

    /// [count] how often each sequence is in a sample of as many, drawn with replacement.
    package func withReplacement() -> [Int] {
        var weights = [Int](repeating: 0, count: count)
        for i in 0..<count { weights[Int(random.word(UInt64(i)).multipliedFullWidth(by: UInt64(count)).high)] += 1 }
        return weights
    }

    /// [count] 1 for those in a random half, 0 for the others; of an odd count the first half has one less.
    package func half() -> [Int] {
        var weights = [Int](repeating: 0, count: count)
        for i in random.permutation(count).prefix(count / 2) { weights[Int(i)] = 1 }
        return weights
    }
}

/// A number, and where 95 of 100 such numbers lie: those from sequences drawn again, or means over other seeds.
public struct Interval: Codable, Sendable, Equatable {
    /// From the sequences as they are.
    @Measured public var value: Double
    /// The 2.5th percentile.
    @Measured public var low: Double
    /// The 97.5th percentile.
    @Measured public var high: Double

    /// The percentile interval of `draws`; those without a value are left out.
    package init(_ value: Double, draws: [Double]) {
        self.value = value
        let sorted = draws.filter { !$0.isNaN }.sorted()
        func percentile(_ p: Double) -> Double {
            guard let last = sorted.indices.last else { return .nan }
            let h = Double(last) * p
            let low = Int(h)
            return sorted[low] + (h - Double(low)) * (sorted[min(low + 1, last)] - sorted[low])
        }
        low = percentile(0.025)
        high = percentile(0.975)
    }

    package init(_ value: Double, low: Double, high: Double) { (self.value, self.low, self.high) = (value, low, high) }

    /// Whether all of it is above 0.
    public var isAboveZero: Bool { low > 0 }
    /// Whether all of it is below 0.
    public var isBelowZero: Bool { high < 0 }
}
