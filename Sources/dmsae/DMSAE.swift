import ArgumentParser
import Distillation
import Glibc
import PluginABI
import PluginHost
import TensorFiles

/// The program: one file per subcommand, and no arithmetic.
@main
struct DMSAE: ParsableCommand {
    static let version = HostIdentity.program

    static let configuration = CommandConfiguration(
        commandName: "dmsae",
        abstract: "Distil a core of sparse-autoencoder latents from a language model.",
        version: version,
        subcommands: [
            DistillCommand.self, SweepCommand.self, HarvestCommand.self, TrainCommand.self, ScoreCommand.self,
            SelectCommand.self,
            CompareCommand.self, StabilityCommand.self, LatentsCommand.self, AutointerpCommand.self, ServeCommand.self,
            ReportCommand.self,
            EvalCommand.self,
            EncodeCommand.self,
            DecodeCommand.self, ConvertCommand.self, ExportCommand.self, LMCommand.self, PluginCommand.self,
            SyntheticCommand.self, FetchCommand.self, DoctorCommand.self,
        ])

    /// Exit codes: 0 done, 1 failed, 64 wrong usage, 128 and the signal when asked to stop (130 for Ctrl-C).
    static func main() {
        do {
            var command = try parseAsRoot()
            do {
                // The process of a plugin has signals and environment as the host gave them.
                if !(command is PluginWorkerCommand) {
                    Interruption.settleSignals()
                    try Surroundings.check()
                    if !(command is DoctorCommand) {
                        try RankJob.join()
                        try RankJob.serve()
                    }
                }
                try command.run()
            } catch let error as ValidationError {
                // Left to the parser it would bring the usage of `dmsae` itself, which does not help.
                Terminal.shared.end()
                Terminal.shared.conclude("Error: \(printable(error.message))")
                ProgramEnd.end(EX_USAGE)
            }
            try Results.requireWritten()
            ProgramEnd.end(0)
        } catch DistillationError.interrupted {
            stop()
        } catch PluginCallError.cancelled where Interruption.request.isRaised {
            stop()
        } catch {
            Terminal.shared.end()
            conclude(error)
        }
    }

    private static func stop() -> Never {
        Terminal.shared.end()
        Terminal.shared.conclude(Interruption.advice)
        ProgramEnd.end(Interruption.status)
    }

    /// What the parser would print of an error, or of --help, fit for a terminal.
    private static func conclude(_ error: any Error) -> Never {
        let code = exitCode(for: error)
        let text = fullMessage(for: error)
        if code == .success {
            print(text)
            // Nobody is left to tell that this went nowhere.
            try? Results.requireWritten()
        } else if !text.isEmpty, !RankJob.isSaidElsewhere(error) {
            Terminal.shared.conclude(RankJob.name + text)
        }
        ProgramEnd.end(code.rawValue)
    }
}
