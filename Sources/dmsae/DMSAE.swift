import ArgumentParser
import Distillation
import PluginHost
import Glibc

/// The program: one file per subcommand, and no arithmetic.
@main
struct DMSAE: ParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "dmsae",
        abstract: "Distil a core of sparse-autoencoder latents from a language model.",
        version: version,
        subcommands: [
            DistillCommand.self, HarvestCommand.self, TrainCommand.self, ScoreCommand.self, SelectCommand.self,
            CompareCommand.self, LatentsCommand.self, ReportCommand.self, EvalCommand.self, EncodeCommand.self,
            DecodeCommand.self, LMCommand.self, PluginCommand.self,
            FetchCommand.self, DoctorCommand.self,
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
                }
                try command.run()
            } catch let error as ValidationError {
                // Left to the parser it would bring the usage of `dmsae` itself, which does not help.
                Terminal.shared.end()
                Terminal.shared.conclude("Error: \(error.message)")
                Glibc.exit(EX_USAGE)
            }
            try Results.requireWritten()
        } catch DistillationError.interrupted {
            stop()
        } catch PluginError.cancelled where Interruption.request.isRaised {
            stop()
        } catch {
            Terminal.shared.end()
            exit(withError: error)
        }
    }

    private static func stop() -> Never {
        Terminal.shared.end()
        Terminal.shared.conclude(Interruption.advice)
        Glibc.exit(Interruption.status)
    }
}
