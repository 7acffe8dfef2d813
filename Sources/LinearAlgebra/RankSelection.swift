import Kernels

/// The k-th largest of positive floats, and how many entries equal to it belong to the k largest.
public struct RankThreshold: Equatable, Sendable {
    /// The k-th largest value.
    public let value: Float
    /// How many entries equal to `value` are among the k largest: the others lie above it.
    public let equalCount: Int
}

/// Finds the `k`-th largest (k from 1) of `count` values, none negative and none NaN.
///
/// The bits of non-negative floats order as unsigned integers. A histogram over the values' own range leaves one bucket in
/// which the rank falls; what is in that one is gathered and searched alike. Exact, in time linear in `count` and with
/// no dependence on the order of the input.
public func rankThreshold(_ values: UnsafePointer<Float>, _ count: Int, _ k: Int) -> RankThreshold {
    precondition(k >= 1 && k <= count, "rank \(k) of \(count)")
    let extent = kernels.extent(values, count)
    var search = RankSearch(k, from: extent.x, through: extent.y, of: count)
    if search.isDone { return search.result }
    return withUnsafeTemporaryAllocation(of: Int32.self, capacity: RankSearch.mostBuckets) { histogram in
        let own = histogram.baseAddress!
        own.update(repeating: 0, count: search.buckets)
        search.count(values, count, into: own)
        search.narrow(own)
        if search.isDone { return search.result }
        return withUnsafeTemporaryAllocation(of: Float.self, capacity: search.left) { left in
            _ = search.gather(values, count, into: left.baseAddress!)
            return search.finish(left.baseAddress!, own)
        }
    }
}

extension Lanes {
    /// The `k`-th largest of all the values in `parts`; lane i counts those of part i, of which there are at most as
    /// many as lanes.
    package func rankThreshold(_ parts: [UnsafeBufferPointer<Float>], _ k: Int) -> RankThreshold {
        let total = parts.reduce(0) { $0 + $1.count }
        precondition(k >= 1 && k <= total && parts.count <= count, "rank \(k) of \(total) in \(parts.count) parts")
        let capacity = parts.count * RankSearch.mostBuckets
        return withUnsafeTemporaryAllocation(of: Int32.self, capacity: capacity) { scratch in
            nonisolated(unsafe) let histograms = scratch.baseAddress!
            let extents = [SIMD2<Float>](unsafeUninitializedCapacity: parts.count) { buffer, count in
                nonisolated(unsafe) let extents = buffer.baseAddress!
                forParts(parts) { extents[$0] = kernels.extent($1, $2) }
                count = parts.count
            }
            var search = RankSearch(
                k, from: extents.map(\.x).min()!, through: extents.map(\.y).max()!, of: total)
            if search.isDone { return search.result }
            let first = search
            forParts(parts) { part, values, count in
                let own = histograms + part * RankSearch.mostBuckets
                own.update(repeating: 0, count: first.buckets)
                first.count(values, count, into: own)
            }
            for part in 1..<max(1, parts.count) {
                let other = histograms + part * RankSearch.mostBuckets
                for i in 0..<first.buckets { histograms[i] &+= other[i] }
            }
            search.narrow(histograms)
            if search.isDone { return search.result }
            return withUnsafeTemporaryAllocation(of: Float.self, capacity: search.left) { left in
                var found = 0
                for part in parts {
                    guard let values = part.baseAddress else { continue }
                    found += search.gather(values, part.count, into: left.baseAddress! + found)
                }
                return search.finish(left.baseAddress!, histograms)
            }
        }
    }

    /// Runs `body` on each part, with its number, its values and how many there are.
    private func forParts(_ parts: [UnsafeBufferPointer<Float>], _ body: (Int, UnsafePointer<Float>, Int) -> Void) {
        run { lane in
            guard lane < parts.count else { return }
            // A pointer that is not read where there is no value.
            body(lane, parts[lane].baseAddress ?? UnsafePointer(bitPattern: 4)!, parts[lane].count)
        }
    }
}

/// A search in progress: in which bit patterns the value lies, and its rank among the values there.
private struct RankSearch {
    static let mostBuckets = 2048

    /// How many buckets the histogram has: clearing and going through more takes longer than few values do.
    let buckets: Int
    /// The least pattern, and how many follow it.
    private var low: UInt32
    private var span: UInt32
    private var rank: Int
    /// Values that have one of these patterns.
    private(set) var left: Int

    init(_ k: Int, from least: Float, through most: Float, of count: Int) {
        (low, span, rank, left) = (least.bitPattern, most.bitPattern - least.bitPattern, k, count)
        buckets = count < 4096 ? 256 : Self.mostBuckets
    }

    var isDone: Bool { span == 0 }
    var result: RankThreshold { RankThreshold(value: Float(bitPattern: low), equalCount: rank) }

    /// Patterns of a bucket, as a power of two.
    private var shift: UInt32 {
        let bits = UInt32.bitWidth - span.leadingZeroBitCount
        return UInt32(max(0, bits - buckets.trailingZeroBitCount))
    }

    /// Adds values that have one of the patterns to the histogram.
    func count(_ values: UnsafePointer<Float>, _ count: Int, into histogram: UnsafeMutablePointer<Int32>) {
        let (low, shift) = (low, shift)
        for i in 0..<count { histogram[Int((values[i].bitPattern &- low) >> shift)] &+= 1 }
    }

    /// Takes the bucket in which the rank falls.
    mutating func narrow(_ histogram: UnsafePointer<Int32>) {
        let shift = shift
        var bucket = Int(span >> shift)
        while Int(histogram[bucket]) < rank {
            rank -= Int(histogram[bucket])
            bucket -= 1
        }
        left = Int(histogram[bucket])
        // The last bucket may reach beyond what there is.
        let start = UInt32(bucket) << shift
        (low, span) = (low + start, min(span - start, (UInt32(1) << shift) - 1))
    }

    /// Copies those of some values that have one of the patterns, `left` among all.
    func gather(_ values: UnsafePointer<Float>, _ count: Int, into target: UnsafeMutablePointer<Float>) -> Int {
        kernels.gatherWithin(values, count, Float(bitPattern: low), Float(bitPattern: low + span), target)
    }

    /// Ends the search among the `left` values, which are overwritten.
    mutating func finish(
        _ values: UnsafeMutablePointer<Float>, _ histogram: UnsafeMutablePointer<Int32>
    ) -> RankThreshold {
        while !isDone {
            if left <= Self.few { return sorted(values) }
            histogram.update(repeating: 0, count: buckets)
            let found = left
            count(values, found, into: histogram)
            narrow(histogram)
            if !isDone { _ = gather(values, found, into: values) }
        }
        return result
    }

    /// So few are sorted sooner than a histogram is cleared.
    private static let few = 16

    /// The result among the `left` values, which come out in descending order.
    private func sorted(_ values: UnsafeMutablePointer<Float>) -> RankThreshold {
        for i in 1..<max(1, left) {
            let value = values[i]
            var at = i
            while at > 0 && values[at - 1] < value {
                values[at] = values[at - 1]
                at -= 1
            }
            values[at] = value
        }
        let value = values[rank - 1]
        var above = rank - 1
        while above > 0 && values[above - 1] == value { above -= 1 }
        return RankThreshold(value: value, equalCount: rank - above)
    }
}
