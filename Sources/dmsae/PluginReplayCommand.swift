import ArgumentParser
import PluginValidation
import PluginWorkers

/// `dmsae plugin replay`: a crash again.
struct PluginReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay", abstract: "Makes the call again on which a plugin crashed.",
        discussion: """
            FOLDER is what the message of the crash named: everything the call was given. The plugin file is loaded from \
            where it was, so a corrected one can be tried. Requests for evaluations are refused: there is no model.

            Example: dmsae plugin replay plugin-crash-1
            """)

    @Argument(help: "Folder that was kept.")
    var folder: String
    @OptionGroup var plugins: PluginOptions

    func run() throws {
        guard let isolation = plugins.isolation(crashFolder: nil) else {
            throw ValidationError("a replay is made in a process of its own; leave --in-process out")
        }
        print(try CrashBundle.replay(folder, isolation, PluginOptions.services))
    }
}

/// What the host starts to keep a plugin apart; of no use to people.
struct PluginWorkerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "worker", shouldDisplay: false)

    @Flag(help: "Enter the sandbox first.")
    var sandbox = false

    @Argument(help: "Another program to be the worker, after --.")
    var program: [String] = []

    func run() throws { try PluginWorker.serve(isSandboxed: sandbox, program: program, PluginExaminer()) }
}
