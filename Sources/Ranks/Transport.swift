/// How the processes of a job send each other bytes. All of them make the same calls in the same order.
package protocol Transport: AnyObject {
    /// Which process this is, 0 ≤ rank < count.
    var rank: Int { get }
    var count: Int { get }

    /// Sends and receives at once, and returns when all of it is done; memory is borrowed for the call. What one rank sends to another
    /// arrives in the order in which it was sent, in as many bytes. With patience there is no time limit.
    ///
    /// - Throws: `RankError`.
    func exchange(_ sends: [Outgoing], _ receives: [Incoming], patiently: Bool) throws(RankError)
}

/// Bytes for another rank.
package struct Outgoing {
    package let target: Int
    package let bytes: UnsafeRawBufferPointer

    package init(to target: Int, _ bytes: UnsafeRawBufferPointer) { (self.target, self.bytes) = (target, bytes) }
}

/// Where bytes of another rank go.
package struct Incoming {
    package let source: Int
    package let bytes: UnsafeMutableRawBufferPointer

    package init(from source: Int, _ bytes: UnsafeMutableRawBufferPointer) {
        (self.source, self.bytes) = (source, bytes)
    }
}

/// What goes wrong among processes.
package enum RankError: Error, Equatable, CustomStringConvertible {
    /// No library that speaks MPI.
    case libraryMissing(tried: [String])
    /// A library that is none of the standard's.
    case symbolMissing(library: String, symbol: String)
    /// A library that does not belong to who started the processes.
    case otherLauncher(library: String, started: Int, found: Int)
    /// A call that the library refused.
    case call(String, reason: String)
    /// Ranks that have not come to a meeting within the time limit.
    case absent(ranks: [Int], seconds: Int)
    /// Ranks that were started with something else.
    case differs(what: String, rank: Int, own: String, other: String)
    /// Nobody waits for this rank any more.
    case launcherGone
    /// What a rank could not do.
    case failed(rank: Int, reason: String)
    /// Something failed while the ranks were at it together.
    case brokenOff(by: String)

    package var description: String {
        switch self {
        case .libraryMissing(let tried):
            "several processes were started and no MPI library of the standard ABI was found (tried \(tried.joined(separator: ", "))); "
                + "pip install mpich and start with its mpiexec, or compile dmsae_mpi.c with the mpicc of the one that is here "
                + "(make mpi), and name the result in DMSAE_MPI"
        case .symbolMissing(let library, let symbol):
            "\(library) has no \(symbol): it does not have the standard ABI (MPI 5.0); compile dmsae_mpi.c with its mpicc (make mpi) "
                + "and name the result in DMSAE_MPI"
        case .otherLauncher(let library, let started, let found):
            "\(started) processes were started and \(library) knows of \(found): it is another MPI than the mpiexec that was used, "
                + "whose library is to be named in DMSAE_MPI; under Slurm, srun wants --mpi=pmi2 for MPICH, --mpi=pmix for Open MPI"
        case .call(let call, let reason): "\(call) failed: \(reason)"
        case .absent(let ranks, let seconds):
            "rank\(ranks.count == 1 ? "" : "s") \(ranks.map(String.init).joined(separator: ", ")) did not come within \(seconds) s; "
                + "see what they said last"
        case .differs(let what, let rank, let own, let other):
            "rank \(rank) was started with another \(what): \(other), and rank 0 with \(own); start all ranks alike"
        case .launcherGone: "what started the job is gone"
        case .failed(let rank, let reason): "rank \(rank): \(reason)"
        case .brokenOff(let failure):
            "the ranks cannot go on after what failed while they were at it together: \(failure)"
        }
    }
}
