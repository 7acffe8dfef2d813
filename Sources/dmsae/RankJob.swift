import ArgumentParser
import Glibc
import LinearAlgebra
import Ranks
import TensorFiles

/// The MPI job that the program was started in, if it was: `mpiexec -n 2 dmsae train …`. Rank 0 writes files and speaks; the others
/// compute, and say what goes wrong with them.
enum RankJob {
    nonisolated(unsafe) private static var transport: MPITransport?

    /// The job's ranks, once it was joined.
    nonisolated(unsafe) private(set) static var group: RankGroup?

    /// Whether this rank ends with what another one says.
    nonisolated(unsafe) private static var isSilent = false

    /// How long ranks wait for each other: for the slowest start, checkpoint or rule.
    private static let secondsToWait = 300

    /// Refuses a command that is not shared among ranks: each would do the same, in the same files.
    static func check(_ command: any ParsableCommand) throws {
        guard let launch = Launch(), !(command is TrainCommand), !(command is DoctorCommand) else { return }
        throw ValidationError(
            "\(launch.count) processes were started, and of the commands only train is shared among them; start this one alone"
        )
    }

    /// Joins it. Ranks on one machine share its processors, unless DMSAE_LANES says otherwise.
    ///
    /// - Throws: `RankError`.
    static func join() throws -> RankGroup? {
        guard let launch = Launch() else { return nil }
        if getenv("DMSAE_LANES") == nil {
            setenv("DMSAE_LANES", "\(max(1, try Lanes.requestedCount() / launch.localCount))", 1)
        }
        let made = try MPITransport(
            MPILibrary(), secondsToWait: secondsToWait, isStopped: { Interruption.request.isRaised })
        transport = made
        let group = RankGroup(made)
        self.group = group
        if group.rank > 0 { Terminal.shared.silence(warnings: true) }
        try group.requireSame("version of dmsae", DMSAE.version)
        return group
    }

    /// Leaves the job before the program ends. After a failure the others cannot go on, and are ended.
    static func leave(_ status: Int32) {
        if transport == nil, group == nil, status != 0, Launch() != nil {
            // The others wait for this one to join before they can be ended: it does so to end them.
            transport = try? MPITransport(MPILibrary(), secondsToWait: 0, isStopped: { true })
        }
        guard let transport else { return }
        self.transport = nil
        // Whoever ends the job first may do so before another has spoken.
        if isSilent { sleep(2) }
        guard status == 0 else { return transport.abort(status) }
        transport.finish()
    }

    /// Whether another rank says the same.
    static func isSaidElsewhere(_ error: any Error) -> Bool {
        guard let group, group.rank > 0, let error = error as? RankError else { return false }
        switch error {
        case .differs, .interrupted: isSilent = true
        case .libraryMissing, .symbolMissing, .call, .absent: break
        }
        return isSilent
    }

    /// How messages of this process begin.
    static var name: String {
        guard let group else { return "" }
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        return
            "rank \(group.rank) on \(String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)): "
    }
}
