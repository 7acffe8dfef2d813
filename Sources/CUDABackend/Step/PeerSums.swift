import Ranks

/// Sums of numbers that lie on the cards of all ranks, through the memory of their hosts. Made in the order of the ranks (`RankGroup.sum`).
final class PeerSums {
    private let group: RankGroup
    private let context: CUDAContext
    private var staging: PinnedArray<Float>?

    init(_ group: RankGroup, on context: CUDAContext) { (self.group, self.context) = (group, context) }

    /// Replaces the first `count` values on every rank by their sum over the ranks, and waits for it.
    ///
    /// - Throws: `CUDAError`, `RankError`.
    func sum(_ values: DeviceArray<Float>, _ count: Int) throws {
        if (staging?.count ?? 0) < count {
            staging = nil
            staging = try PinnedArray(count, on: context)
        }
        let buffer = UnsafeMutableBufferPointer(start: staging!.elements, count: count)
        try values.download(buffer.baseAddress!, count)
        try context.synchronize()
        try group.sum(buffer)
        try values.upload(buffer.baseAddress!, count)
    }
}
