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
    return withUnsafeTemporaryAllocation(of: Int32.self, capacity: RankSearch.buckets) { histogram in
        var search = RankSearch(k)
        while !search.isDone {
            histogram.update(repeating: 0)
            search.count(values, count, into: histogram.baseAddress!)
            search.narrow(histogram.baseAddress!)
        }
        return search.result
    }
}

extension Lanes {
    /// The `k`-th largest of all the values in `parts`; lane i counts those of part i, of which there are at most as
    /// many as lanes.
    package func rankThreshold(_ parts: [UnsafeBufferPointer<Float>], _ k: Int) -> RankThreshold {
        let total = parts.reduce(0) { $0 + $1.count }
        precondition(k >= 1 && k <= total && parts.count <= count, "rank \(k) of \(total) in \(parts.count) parts")
        return withUnsafeTemporaryAllocation(of: Int32.self, capacity: parts.count * RankSearch.buckets) { scratch in
            nonisolated(unsafe) let histograms = scratch.baseAddress!
            var search = RankSearch(k)
            while !search.isDone {
                let current = search
                run { lane in
                    guard lane < parts.count, let values = parts[lane].baseAddress else { return }
                    let own = histograms + lane * RankSearch.buckets
                    own.update(repeating: 0, count: RankSearch.buckets)
                    current.count(values, parts[lane].count, into: own)
                }
                for part in 1..<max(1, parts.count) {
                    let other = histograms + part * RankSearch.buckets
                    for i in 0..<RankSearch.buckets { histograms[i] &+= other[i] }
                }
                search.narrow(histograms)
            }
            return search.result
        }
    }
}

/// A search in progress: the leading bits of the value that are known, and the rank among the values that share them.
private struct RankSearch {
    static let buckets = 2048
    private static let passes: [(shift: UInt32, bits: UInt32)] = [(21, 11), (10, 11), (0, 10)]

    private var prefix: UInt32 = 0
    private var mask: UInt32 = 0
    private var remaining: Int
    private var pass = 0

    init(_ k: Int) { remaining = k }

    var isDone: Bool { pass == Self.passes.count }
    var result: RankThreshold { RankThreshold(value: Float(bitPattern: prefix), equalCount: remaining) }

    /// Adds the values that share the known bits to the histogram of their next ones.
    func count(_ values: UnsafePointer<Float>, _ count: Int, into histogram: UnsafeMutablePointer<Int32>) {
        let (shift, bits) = Self.passes[pass]
        let low = (UInt32(1) << bits) - 1
        for i in 0..<count {
            let pattern = values[i].bitPattern
            if pattern & mask == prefix { histogram[Int((pattern >> shift) & low)] &+= 1 }
        }
    }

    mutating func narrow(_ histogram: UnsafePointer<Int32>) {
        let (shift, bits) = Self.passes[pass]
        var bucket = (1 << Int(bits)) - 1
        while Int(histogram[bucket]) < remaining {
            remaining -= Int(histogram[bucket])
            bucket -= 1
        }
        prefix |= UInt32(bucket) << shift
        mask |= ((UInt32(1) << bits) - 1) << shift
        pass += 1
    }
}
