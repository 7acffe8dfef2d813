/// The k-th largest of positive floats, and how many entries equal to it belong to the k largest.
public struct RankThreshold: Equatable, Sendable {
    /// The k-th largest value.
    public let value: Float
    /// How many entries equal to `value` are among the k largest: the others lie above it.
    public let equalCount: Int
}

/// Finds the `k`-th largest (k from 1) of `count` values, none negative and none NaN.
///
/// The bits of non-negative floats order as unsigned integers, so three histogram passes (11, 11 and 10 bits) find
/// the value exactly, in time linear in `count` and with no dependence on the order of the input.
public func rankThreshold(_ values: UnsafePointer<Float>, _ count: Int, _ k: Int) -> RankThreshold {
    precondition(k >= 1 && k <= count, "rank \(k) of \(count)")
    var prefix: UInt32 = 0
    var mask: UInt32 = 0
    var remaining = k
    withUnsafeTemporaryAllocation(of: Int32.self, capacity: 2048) { histogram in
        for (shift, bits) in [(21, 11), (10, 11), (0, 10)] as [(UInt32, UInt32)] {
            let buckets = 1 << Int(bits)
            histogram.update(repeating: 0)
            for i in 0..<count {
                let pattern = values[i].bitPattern
                if pattern & mask == prefix { histogram[Int(pattern >> shift) & (buckets - 1)] &+= 1 }
            }
            var bucket = buckets - 1
            while Int(histogram[bucket]) < remaining {
                remaining -= Int(histogram[bucket])
                bucket -= 1
            }
            prefix |= UInt32(bucket) << shift
            mask |= UInt32(buckets - 1) << shift
        }
    }
    return RankThreshold(value: Float(bitPattern: prefix), equalCount: remaining)
}
