import Glibc

/// Ranks of an MPI job. To be used by the thread that made it.
package final class MPITransport: Transport {
    package let rank: Int
    package let count: Int
    /// What the library says of itself.
    package let version: String
    private let library: MPILibrary
    private let secondsToWait: Int

    /// Joins the job that this process was started in; to be left by `finish` or `abort`.
    ///
    /// - Parameters:
    ///   - started: as many processes as there are to be.
    ///   - secondsToWait: how long others may be late for what is done together.
    /// - Throws: `RankError`.
    package init(_ library: MPILibrary, started: Int, secondsToWait: Int) throws(RankError) {
        self.library = library
        self.secondsToWait = secondsToWait
        version = library.version
        var (provided, rank, count): (Int32, Int32, Int32) = (0, 0, 0)
        try library.check(library.initialize(nil, nil, MPILibrary.funneled, &provided), "MPI_Init_thread")
        try library.check(library.setErrorHandler(MPILibrary.world, MPILibrary.errorsReturn), "MPI_Comm_set_errhandler")
        try library.check(library.rank(MPILibrary.world, &rank), "MPI_Comm_rank")
        try library.check(library.size(MPILibrary.world, &count), "MPI_Comm_size")
        (self.rank, self.count) = (Int(rank), Int(count))
        guard self.count == started else {
            throw .otherLauncher(library: library.path, started: started, found: self.count)
        }
    }

    /// Leaves a job whose work is done.
    package func finish() { _ = library.finalize() }

    /// Ends the whole job, this process too.
    package func abort(_ status: Int32) { _ = library.abort(MPILibrary.world, status) }

    /// A message under way, a piece of one where it is long.
    private struct Pending {
        let peer: Int
        var request: MPILibrary.Request
    }

    /// Counts are of 32 bits.
    private static let mostBytes = 1 << 30

    package func exchange(_ sends: [Outgoing], _ receives: [Incoming], patiently: Bool) throws(RankError) {
        var pending: [Pending] = []
        for receive in receives {
            for piece in Self.pieces(receive.bytes.count) {
                var request: MPILibrary.Request = 0
                try library.check(
                    library.receive(
                        receive.bytes.baseAddress.map { $0 + piece.lowerBound }, Int32(piece.count), MPILibrary.byte,
                        Int32(receive.source), 0, MPILibrary.world, &request), "MPI_Irecv")
                pending.append(Pending(peer: receive.source, request: request))
            }
        }
        for send in sends {
            for piece in Self.pieces(send.bytes.count) {
                var request: MPILibrary.Request = 0
                try library.check(
                    library.send(
                        send.bytes.baseAddress.map { $0 + piece.lowerBound }, Int32(piece.count), MPILibrary.byte,
                        Int32(send.target), 0, MPILibrary.world, &request), "MPI_Isend")
                pending.append(Pending(peer: send.target, request: request))
            }
        }
        try wait(for: &pending, patiently: patiently)
    }

    /// By looking, so that a rank that never comes can be named.
    private func wait(for pending: inout [Pending], patiently: Bool) throws(RankError) {
        let (start, parent) = (Self.seconds(), getppid())
        var rounds = 0
        while !pending.isEmpty {
            var left: [Pending] = []
            for var one in pending {
                var done: Int32 = 0
                try library.check(library.test(&one.request, &done, nil), "MPI_Test")
                if done == 0 { left.append(one) }
            }
            pending = left
            guard !left.isEmpty else { return }
            rounds += 1
            // The others are at work, perhaps on this processor; where that takes long, a millisecond does not matter.
            if rounds < 200 { sched_yield() } else { usleep(patiently && rounds > 20_000 ? 1000 : 50) }
            guard rounds % 64 == 0 else { continue }
            // Who started the job has died, and nobody is left to end this rank.
            if getppid() != parent { throw .launcherGone }
            if patiently { continue }
            if Self.seconds() - start > Double(secondsToWait) {
                throw .absent(ranks: Set(left.map(\.peer)).sorted(), seconds: secondsToWait)
            }
        }
    }

    private static func pieces(_ count: Int) -> [Range<Int>] {
        guard count > mostBytes else { return [0..<count] }
        return stride(from: 0, to: count, by: mostBytes).map { $0..<min($0 + mostBytes, count) }
    }

    private static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
