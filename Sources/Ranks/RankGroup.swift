/// The processes that share a computation, and what they do together. Sums are made in the order of the ranks, whoever comes first, so
/// that the same number of ranks gives the same bits.
package final class RankGroup: @unchecked Sendable {
    private let transport: any Transport
    private var scratch: [Float] = []
    /// Bytes that this rank has sent so far.
    package private(set) var sentBytes = 0

    package init(_ transport: any Transport) { self.transport = transport }

    package var rank: Int { transport.rank }
    package var count: Int { transport.count }

    private var others: [Int] { (0..<count).filter { $0 != rank } }

    private func exchange(_ sends: [Outgoing], _ receives: [Incoming], patiently: Bool = false) throws(RankError) {
        sentBytes += sends.reduce(0) { $0 + $1.bytes.count }
        try transport.exchange(sends, receives, patiently: patiently)
    }

    // MARK: Messages

    private var services = 0
    /// What failed half done among what the ranks do together: nobody knows since then who waits for what.
    package private(set) var failure: String?

    /// A number that no service has.
    package func nextService() -> Int {
        services += 1
        return services
    }

    /// Whether nothing has.
    package var isWhole: Bool { failure == nil }

    /// - Throws: `RankError.brokenOff`.
    func requireWhole() throws(RankError) {
        if let failure { throw .brokenOff(by: failure) }
    }

    /// Something that the ranks do together, after whose failure they do nothing together any more.
    ///
    /// - Throws: what `body` throws; `RankError.brokenOff`.
    package func together<Value>(_ body: () throws -> Value) throws -> Value {
        try requireWhole()
        do {
            return try body()
        } catch {
            failure = "\(error)"
            throw error
        }
    }

    /// Sends a message, of whatever size, to a rank that receives it; with patience, whenever that is.
    package func send(_ message: RankMessage, to target: Int, patiently: Bool = false) throws(RankError) {
        var none: [UInt8] = []
        for part in [withUnsafeBytes(of: message.bytes.count, Array.init), message.bytes] {
            try withBytes(part, &none) { (part, _) throws(RankError) in
                try exchange([Outgoing(to: target, part)], [], patiently: patiently)
            }
        }
    }

    /// A message that another rank sends; with patience, whenever it comes.
    package func receive(from source: Int, patiently: Bool = false) throws(RankError) -> RankMessage {
        func bytes(_ count: Int) throws(RankError) -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: count)
            try withBytes([UInt8](), &bytes) { (_, bytes) throws(RankError) in
                try exchange([], [Incoming(from: source, bytes)], patiently: patiently)
            }
            return bytes
        }
        let count = try bytes(8).withUnsafeBytes { $0.loadUnaligned(as: Int.self) }
        return RankMessage(try bytes(count))
    }

    // MARK: Sums

    /// Replaces `values` on every rank by their sum over the ranks. A rank adds a slice of them, and every other gets it: 2·(R − 1)/R times
    /// the values are sent by each.
    package func sum(_ values: UnsafeMutableBufferPointer<Float>) throws(RankError) {
        guard count > 1, let start = values.baseAddress else { return }
        let ranks = count
        func slice(_ r: Int) -> Range<Int> { self.slice(r, of: values.count) }
        let own = slice(rank)
        if scratch.count < ranks * own.count { scratch = [Float](repeating: 0, count: ranks * own.count) }
        let result: Result<Void, RankError> = scratch.withUnsafeMutableBufferPointer { scratch in
            Result { () throws(RankError) in
                let parts = scratch.baseAddress!
                try exchange(
                    others.map { Outgoing(to: $0, Self.bytes(start, slice($0))) },
                    others.map { Incoming(from: $0, Self.bytes(parts, $0 * own.count..<($0 + 1) * own.count)) })
                (parts + rank * own.count).update(from: start + own.lowerBound, count: own.count)
                for i in 0..<own.count {
                    var sum = parts[i]
                    for r in 1..<ranks { sum += parts[r * own.count + i] }
                    start[own.lowerBound + i] = sum
                }
                try exchange(
                    others.map { Outgoing(to: $0, Self.bytes(start, own)) },
                    others.map { Incoming(from: $0, Self.bytes(start, slice($0))) })
            }
        }
        try result.get()
    }

    /// Of `n` numbers those that rank `r` is to hand on: whole cache lines.
    package func slice(_ r: Int, of n: Int) -> Range<Int> {
        min(n, n * r / count / 16 * 16)..<(r + 1 == count ? n : n * (r + 1) / count / 16 * 16)
    }

    /// Puts rank 0's `values` in the place of those of every rank, each of which hands a slice of them on, so that none sends much more
    /// than there is.
    package func share(_ values: UnsafeMutableBufferPointer<Float>) throws(RankError) {
        guard count > 1, let start = values.baseAddress else { return }
        func slice(_ r: Int) -> Range<Int> { self.slice(r, of: values.count) }
        let handers = others.filter { $0 > 0 }
        if rank == 0 {
            try exchange(handers.map { Outgoing(to: $0, Self.bytes(start, slice($0))) }, [])
            return try exchange(handers.map { Outgoing(to: $0, Self.bytes(start, slice(0))) }, [])
        }
        try exchange([], [Incoming(from: 0, Self.bytes(start, slice(rank)))])
        try exchange(
            handers.map { Outgoing(to: $0, Self.bytes(start, slice(rank))) },
            others.map { Incoming(from: $0, Self.bytes(start, slice($0))) })
    }

    /// The sums over the ranks of a few numbers.
    package func sum(_ values: [Double]) throws(RankError) -> [Double] {
        guard count > 1 else { return values }
        let all = try everyone(values)
        return values.indices.map { i in (1..<count).reduce(all[0][i]) { $0 + all[$1][i] } }
    }

    /// What every rank has, as much on each, by rank.
    package func everyone(_ values: [Double]) throws(RankError) -> [[Double]] {
        var found = [[Double]](repeating: values, count: count)
        let size = 8 * values.count
        var all = [UInt8](repeating: 0, count: size * count)
        try withBytes(values, &all) { (own, all) throws(RankError) in
            try exchange(
                others.map { Outgoing(to: $0, own) },
                others.map {
                    Incoming(from: $0, UnsafeMutableRawBufferPointer(rebasing: all[$0 * size..<($0 + 1) * size]))
                })
            for r in others {
                found[r] = (0..<values.count).map {
                    all.loadUnaligned(fromByteOffset: r * size + 8 * $0, as: Double.self)
                }
            }
        }
        return found
    }

    // MARK: Rank 0

    /// Brings bytes of every rank, as many as it has, to rank 0, by rank; nothing to the others.
    package func gather(_ bytes: [UInt8]) throws(RankError) -> [[UInt8]] {
        let sizes = try everyone([Double(bytes.count)]).map { Int($0[0]) }
        guard rank == 0 else {
            var none: [UInt8] = []
            try withBytes(bytes, &none) { (own, _) throws(RankError) in try exchange([Outgoing(to: 0, own)], []) }
            return []
        }
        var (all, starts) = ([UInt8](repeating: 0, count: sizes[1...].reduce(0, +)), [0, 0])
        for size in sizes[1...] { starts.append(starts.last! + size) }
        try withBytes(bytes, &all) { (_, all) throws(RankError) in
            try exchange(
                [],
                others.map {
                    Incoming(
                        from: $0, UnsafeMutableRawBufferPointer(rebasing: all[starts[$0]..<starts[$0] + sizes[$0]]))
                })
        }
        return [bytes] + others.map { Array(all[starts[$0]..<starts[$0] + sizes[$0]]) }
    }

    /// Brings bytes of every rank to rank 0, one rank's after the other in memory for the largest of them: rank r has `sizes[r]`, which all know.
    package func collect(
        _ own: UnsafeRawBufferPointer, sizes: [Int], _ body: (_ rank: Int, UnsafeRawBufferPointer) -> Void
    ) throws(RankError) {
        guard rank == 0 else { return try exchange([Outgoing(to: 0, own)], []) }
        body(0, own)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: sizes[1...].max() ?? 0, alignment: 64)
        defer { buffer.deallocate() }
        for r in others {
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<sizes[r]])
            try exchange([], [Incoming(from: r, part)])
            body(r, UnsafeRawBufferPointer(part))
        }
    }

    /// Gives rank r the bytes `parts[r]` of rank 0, of which it knows that there are `count`.
    package func scatter(_ parts: [[UInt8]], count: Int) throws(RankError) -> [UInt8] {
        if rank == 0 {
            for r in others {
                var none: [UInt8] = []
                try withBytes(parts[r], &none) { (part, _) throws(RankError) in
                    try exchange([Outgoing(to: r, part)], [])
                }
            }
            return parts[0]
        }
        var own = [UInt8](repeating: 0, count: count)
        try withBytes([UInt8](), &own) { (_, own) throws(RankError) in try exchange([], [Incoming(from: 0, own)]) }
        return own
    }

    /// Rank 0's numbers on every rank, which knows how many there are.
    package func broadcast(_ values: [Double]) throws(RankError) -> [Double] { try everyone(values)[0] }

    /// Refuses ranks that say something else than rank 0.
    ///
    /// - Throws: `RankError.differs` on all ranks.
    package func requireSame(_ what: String, _ text: String) throws(RankError) {
        guard count > 1 else { return }
        let sizes = try everyone([Double(text.utf8.count)]).map { Int($0[0]) }
        var all = [UInt8](repeating: 0, count: sizes.reduce(0, +))
        var starts = [0]
        for size in sizes { starts.append(starts.last! + size) }
        try withBytes(Array(text.utf8), &all) { (own, all) throws(RankError) in
            try exchange(
                others.map { Outgoing(to: $0, own) },
                others.map {
                    Incoming(from: $0, UnsafeMutableRawBufferPointer(rebasing: all[starts[$0]..<starts[$0 + 1]]))
                })
        }
        let texts = (0..<count).map { r in
            r == rank ? text : String(decoding: all[starts[r]..<starts[r + 1]], as: UTF8.self)
        }
        if let other = texts.firstIndex(where: { $0 != texts[0] }) {
            throw .differs(
                what: what, rank: other, own: excerpt(texts[0], texts[other]), other: excerpt(texts[other], texts[0]))
        }
    }

    /// Of a text of several lines the first that another text has not.
    private func excerpt(_ text: String, _ other: String) -> String {
        let lines = text.split(separator: "\n"), others = other.split(separator: "\n")
        let first = lines.indices.first { $0 >= others.count || lines[$0] != others[$0] }
        return first.map { String(lines[$0].drop { $0 == " " }) } ?? "nothing more"
    }

    // MARK: Memory

    private static func bytes(_ start: UnsafeMutablePointer<Float>, _ range: Range<Int>)
        -> UnsafeMutableRawBufferPointer
    {
        UnsafeMutableRawBufferPointer(start: start + range.lowerBound, count: 4 * range.count)
    }

    private static func bytes(_ start: UnsafeMutablePointer<Float>, _ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: start + range.lowerBound, count: 4 * range.count)
    }

    private func withBytes<Element: BitwiseCopyable>(
        _ source: [Element], _ target: inout [UInt8],
        _ body: (UnsafeRawBufferPointer, UnsafeMutableRawBufferPointer) throws(RankError) -> Void
    ) throws(RankError) {
        let result: Result<Void, RankError> = source.withUnsafeBytes { source in
            target.withUnsafeMutableBytes { target in
                Result { () throws(RankError) in try body(source, target) }
            }
        }
        try result.get()
    }
}
