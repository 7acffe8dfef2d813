import Glibc
import LanguageModeling
import LinearAlgebra
import Ranks
import SparseCoding
import TensorFiles

/// The MPI job that the program was started in, if it was: `mpiexec -n 2 dmsae distill …`. Rank 0 is the program, with its options and
/// files; the others compute what it orders, and say what goes wrong with them.
enum RankJob {
    nonisolated(unsafe) private static var transport: MPITransport?

    /// The job's ranks, once it was joined; nil for a process that was started alone.
    nonisolated(unsafe) private(set) static var group: RankGroup?

    /// Which of the ranks on this machine this is; 0 for a process that was started alone.
    nonisolated(unsafe) private(set) static var localRank = 0

    /// Whether this rank ends with what another one says.
    nonisolated(unsafe) private static var isSilent = false

    /// How long ranks wait for each other where they work at the same time.
    private static let secondsToWait = 300

    /// Joins it. Ranks on one machine share its processors, unless DMSAE_LANES says otherwise. Programs that this one starts are no ranks.
    ///
    /// - Throws: `RankError`.
    static func join() throws {
        guard let launch = Launch() else { return }
        if getenv("DMSAE_LANES") == nil {
            setenv("DMSAE_LANES", "\(max(1, try Lanes.requestedCount() / launch.localCount))", 1)
        }
        let made = try MPITransport(MPILibrary(), started: launch.count, secondsToWait: secondsToWait)
        transport = made
        Launch.forget()
        let group = RankGroup(made)
        self.group = group
        if group.rank > 0 { Terminal.shared.silence(warnings: true) }
        try group.requireSame("version of dmsae", DMSAE.version)
        // Another option on one rank was meant to do something, and only those of rank 0 are followed.
        try group.requireSame("command line", CommandLine.arguments.dropFirst().joined(separator: "\n"))
        // Launchers do not agree on how they would tell it.
        let hosts = try group.everyone([Launch.number(of: Launch.host)])
        localRank = hosts[..<group.rank].count { $0 == hosts[group.rank] }
    }

    /// On other ranks than 0 does what rank 0 orders, to the end of the program.
    static func serve() throws {
        guard let group, group.rank > 0 else { return }
        // Rank 0 stops, writes what is to be kept, for which it may need this rank, and then lets it go.
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU] { Glibc.signal(signal, SIG_IGN) }
        try Surroundings.prepareToCompute(advice: "start more processes")
        try group.serve([
            LatentShare.kind: { group, message in
                let place = try ComputePlace(reading: &message)
                return try LatentShare.make(group, &message, on: try place.trainingDevice())
            },
            ModelShare.kind: { try ModelShare.make($0, &$1, load: loadModel) },
        ])
        ProgramEnd.end(0)
    }

    /// The model of that path on all ranks.
    ///
    /// - Throws: as `loadLanguageModel`; `RankError.failed` for a rank where there is none, or another.
    static func languageModel(
        _ path: String, among group: RankGroup, on place: ComputePlace
    ) throws -> any LanguageModel {
        var description = try place.message()
        description.write(path)
        description.write(try modelHash(path) ?? "")
        return try RankedModel(among: group, description) { try place.languageModel(path) }
    }

    private static func loadModel(_ description: inout RankMessage) throws -> any LanguageModel {
        let place = try ComputePlace(reading: &description)
        let (path, hash): (String, String) = (description.read(), description.read())
        let own = try modelHash(path) ?? ""
        guard own == hash else { throw OtherModel(path: path, own: own, hash: hash) }
        return try place.languageModel(path)
    }

    private struct OtherModel: Error, CustomStringConvertible {
        let path: String
        let own: String
        let hash: String

        var description: String {
            "\(Launch.host) has another model at \(path) (SHA-256 \(own)) than rank 0 (\(hash)); give all the same files"
        }
    }

    /// Leaves the job before the program ends. After a failure the others cannot go on, and are ended.
    static func leave(_ status: Int32) {
        if transport == nil, group == nil, status != 0, let launch = Launch() {
            // The others wait for this one to join before they can be ended: it does so to end them.
            transport = try? MPITransport(MPILibrary(), started: launch.count, secondsToWait: 0)
        }
        guard let transport else { return }
        self.transport = nil
        // Whoever ends the job first may do so before another has spoken.
        if isSilent { sleep(2) }
        if status == 0, let group, group.rank == 0 { group.dismiss() }
        // Ranks that were not let go would be waited for without end.
        if status == 0, let group, let failure = group.failure {
            Terminal.shared.conclude(
                "\(name)Error: \(RankError.brokenOff(by: failure)); what was written since is not whole")
            return end(transport, EXIT_FAILURE)
        }
        guard status == 0 else { return end(transport, status) }
        if let group, group.rank == 0 {
            let sent = Double(group.sentBytes) / 1e6
            if sent >= 1 {
                Terminal.shared.note("\(group.count) ranks, of which the first sent \(decimals(sent, 0)) MB")
            }
        }
        transport.finish()
    }

    private static func end(_ transport: MPITransport, _ status: Int32) {
        // What was said is on its way to the launcher, which does not wait for it once the job is ended.
        usleep(200_000)
        transport.abort(status)
    }

    /// Whether another rank says the same. What is refused before the job was joined is refused by all that were started alike: they
    /// join it to find out.
    static func isSaidElsewhere(_ error: any Error) -> Bool {
        var isSame = false
        if case .differs = error as? RankError {
            isSame = true
        } else if group == nil, Launch() != nil {
            isSame = (try? join()) != nil
        }
        guard isSame, let group, group.rank > 0 else { return false }
        isSilent = true
        return true
    }

    /// How messages of this process begin.
    static var name: String { group.map { "rank \($0.rank) on \(Launch.host): " } ?? "" }
}
