import LinearAlgebra
import Ranks

/// Sums of numbers that lie on the cards of all ranks, made in the order of the ranks: in both ways the same bits.
protocol PeerSums: AnyObject {
    /// Replaces the first `count` values on every rank by their sum over the ranks.
    ///
    /// - Throws: `CUDAError`, `RankError`.
    func sum(_ values: DeviceArray<Float>, _ count: Int) throws
}

/// From card to card where that can be, or else through the hosts; all ranks join at once, and have room for sums of `most` values.
///
/// - Throws: `CUDAError`, `RankError`.
func joinedSums(_ group: RankGroup, of most: Int, on context: CUDAContext) throws -> any PeerSums {
    if let cards = try CardPeerSums.join(group, of: most, on: context) { return cards }
    return try HostPeerSums(group, of: most, on: context)
}

/// Through the memory of their hosts, as ranks without cards do.
final class HostPeerSums: PeerSums {
    private let group: RankGroup
    private let context: CUDAContext
    private var staging: PinnedArray<Float>

    init(_ group: RankGroup, of most: Int, on context: CUDAContext) throws(CUDAError) {
        (self.group, self.context) = (group, context)
        staging = try PinnedArray(most, on: context)
    }

    func sum(_ values: DeviceArray<Float>, _ count: Int) throws {
        if staging.count < count {
            // The card may still read what the last sum left there.
            try context.synchronize()
            staging = try PinnedArray(count, on: context)
        }
        let buffer = UnsafeMutableBufferPointer(start: staging.elements, count: count)
        try values.download(buffer.baseAddress!, count)
        try context.synchronize()
        try group.sum(buffer)
        try values.upload(buffer.baseAddress!, count)
    }
}

/// From card to card (NCCL). Its own collective is not used: that adds in an order that depends on how the cards are connected.
final class CardPeerSums: PeerSums {
    private let group: RankGroup
    private let context: CUDAContext
    private let library: NCCLLibrary
    private let communicator: NCCLLibrary.Communicator
    private let sent: DeviceEvent
    /// [ranks, slice] what the others send of the slice that this rank adds.
    private var parts: DeviceArray<Float>

    /// How long cards wait for each other, once they have met.
    private static let secondsToWait = 300

    private init(
        _ library: NCCLLibrary, _ communicator: NCCLLibrary.Communicator, _ group: RankGroup, of most: Int,
        on context: CUDAContext
    ) throws(CUDAError) {
        (self.library, self.communicator, self.group, self.context) = (library, communicator, group, context)
        sent = try DeviceEvent(on: context)
        parts = try DeviceArray(Self.room(most, group), on: context)
    }

    // It waits for the others to do the same, who do not where the job ends otherwise.
    deinit {
        guard group.isWhole, !context.isAbandoned else { return }
        try? context.activate()
        _ = library.destroy(communicator)
    }

    /// A slice of every rank: slices differ by a cache line or two.
    private static func room(_ count: Int, _ group: RankGroup) -> Int { count + 32 * group.count }

    /// Nil where a rank has no NCCL, or shares its card with another, which NCCL refuses; the same on all ranks.
    ///
    /// - Throws: `CUDAError`, `RankError`.
    static func join(_ group: RankGroup, of most: Int, on context: CUDAContext) throws -> CardPeerSums? {
        guard group.count > 1 else { return nil }
        let library = try NCCLLibrary.ifThere()
        let id = group.rank == 0 ? library.flatMap { try? $0.makeId() } ?? [] : []
        let isReady = library != nil && (group.rank > 0 || !id.isEmpty)
        let all = try group.everyone([
            isReady ? 1 : 0, Launch.number(of: Launch.host), Launch.number(of: context.bus),
        ])
        guard let library, all.allSatisfy({ $0[0] == 1 }), Set(all.map { Array($0[1...]) }).count == all.count else {
            return nil
        }
        let own = try group.scatter([[UInt8]](repeating: id, count: group.count), count: NCCLLibrary.idBytes)
        try context.activate()
        return try CardPeerSums(
            library, library.join(own, rank: group.rank, of: group.count), group, of: most, on: context)
    }

    func sum(_ values: DeviceArray<Float>, _ count: Int) throws {
        do {
            try addUp(values, count)
        } catch {
            context.isAbandoned = true
            throw error
        }
    }

    private func addUp(_ values: DeviceArray<Float>, _ count: Int) throws {
        let ranks = group.count, own = group.slice(group.rank, of: count)
        if parts.count < ranks * own.count { parts = try DeviceArray(ranks * own.count, on: context) }
        try exchange { (rank) throws(CUDAError) in
            let slice = group.slice(rank, of: count)
            try send(values, slice.lowerBound, slice.count, to: rank)
            try receive(parts, rank * own.count, own.count, from: rank)
        }
        try parts.copy(values, own.count, from: own.lowerBound, at: group.rank * own.count)
        try context.launch(
            try context.kernels.kernel("addInOrder", in: "slices"), (own.count + 255) / 256, threads: 256, parts, ranks,
            own.count, DeviceSlice(of: values, at: own.lowerBound))
        try exchange { (rank) throws(CUDAError) in
            let slice = group.slice(rank, of: count)
            try send(values, own.lowerBound, own.count, to: rank)
            try receive(values, slice.lowerBound, slice.count, from: rank)
        }
        try sent.record(on: context.stream)
        // Waited for here, so that cards that never answer are an error and not a job that hangs.
        guard try sent.wait(seconds: Self.secondsToWait) else {
            throw RankError.absent(
                ranks: (0..<ranks).filter { $0 != group.rank }, seconds: Self.secondsToWait)
        }
    }

    /// All that is sent and received at once.
    private func exchange(_ body: (_ rank: Int) throws(CUDAError) -> Void) throws(CUDAError) {
        try library.check(library.groupStart(), "ncclGroupStart")
        for rank in 0..<group.count where rank != group.rank { try body(rank) }
        try library.check(library.groupEnd(), "ncclGroupEnd")
    }

    private func send(_ values: DeviceArray<Float>, _ first: Int, _ count: Int, to rank: Int) throws(CUDAError) {
        guard count > 0 else { return }
        try library.check(
            library.send(
                values.address + UInt64(4 * first), count, NCCLLibrary.float, Int32(rank), communicator, context.stream),
            "ncclSend")
    }

    private func receive(_ values: DeviceArray<Float>, _ first: Int, _ count: Int, from rank: Int) throws(CUDAError) {
        guard count > 0 else { return }
        try library.check(
            library.receive(
                values.address + UInt64(4 * first), count, NCCLLibrary.float, Int32(rank), communicator, context.stream),
            "ncclRecv")
    }
}
