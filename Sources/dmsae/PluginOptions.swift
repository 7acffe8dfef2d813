import ArgumentParser
import Attribution
import Glibc
import PluginHost
import PluginWorkers
import SparseCoding
import TensorFiles

extension PluginSandbox.Use: ExpressibleByArgument {}

/// Options of commands that run plugins.
struct PluginOptions: ParsableArguments {
    @Flag(
        help: "Run plugins that were not shipped with dmsae in this process, where a crash of theirs ends the program.")
    var inProcess = false

    @Option(help: ArgumentHelp("Give a plugin up after so long without a sign of life.", valueName: "SECONDS"))
    var pluginTimeout = 120.0

    @Option(help: ArgumentHelp("Address space of a plugin's process; default half of the memory.", valueName: "GiB"))
    var pluginMemory: Double?

    @Option(
        help: ArgumentHelp(
            "Let a plugin's process have this variable of the environment too; may be repeated. It has LANG, LC_*, LD_*, OMP_*, "
                + "OPENBLAS_*, MKL_*, GLIBC_*, PYTHON*, DMSAE_* and a few more, and none whose name sounds of a secret.",
            valueName: "NAME"))
    var pluginEnv: [String] = []

    @Option(
        help: ArgumentHelp(
            "The interpreter for scorers in Python; default the one of DMSAE_PYTHON, or python3 on PATH.",
            valueName: "PATH"))
    var python: String?

    @Option(
        help: ArgumentHelp(
            "Take from a plugin's process what it does not need: files to write, the network, other processes. auto: as "
                + "far as the kernel goes (dmsae doctor says how far); on: all of it or none is run.",
            valueName: "auto|on|off"
        ))
    var sandbox = PluginSandbox.Use.whereThere

    func validate() throws {
        for name in pluginEnv where name.isEmpty || name.contains("=") || name.utf8.contains(0) {
            throw ValidationError(
                "--plugin-env is '\(printable(name))'; give the name of a variable that is set, without a value")
        }
        try require("--plugin-timeout", pluginTimeout, in: OptionRange.seconds)
        if let pluginMemory { try require("--plugin-memory", pluginMemory, in: 0.1...100_000) }
    }

    /// How foreign plugins are kept apart; nil where they are not.
    ///
    /// - Parameter crashFolder: where what they crashed on is kept.
    func isolation(crashFolder: String?) -> PluginIsolation? {
        if inProcess {
            Results.keepToThemselves()
            ProgramEnd.leaveLibrariesAlone()
            return nil
        }
        var isolation = PluginIsolation(executable: "/proc/self/exe", timeout: pluginTimeout, crashFolder: crashFolder)
        isolation.environment = pluginEnv
        isolation.sandbox = sandbox
        isolation.python = python
        if let pluginMemory { isolation.memory = UInt64(pluginMemory * Double(1 << 30)) }
        return isolation
    }

    /// The scorer of a reference; what it crashes on is kept in the folder of `output`.
    func scorer(_ reference: String, output: String) throws -> any AttributionScorer & LoadedPlugin {
        try catalog().scorer(
            reference, services: Self.services, isolation: isolation(crashFolder: parentFolder(of: output)))
    }

    /// The sparsity rule of a reference.
    func rule(_ reference: String, output: String) throws -> any SparsityRule & LoadedPlugin {
        try catalog().sparsityRule(
            reference, services: Self.services, isolation: isolation(crashFolder: parentFolder(of: output)))
    }

    private func catalog() throws -> PluginCatalog {
        var catalog = try PluginCatalog()
        catalog.environment = pluginEnv
        return catalog
    }

    /// Log lines go to standard error; Ctrl-C stops a call.
    static let services = PluginServices(
        log: { message in
            let text = "\(message.plugin): \(message.text)"
            switch message.level {
            case .debug: break
            case .info: Terminal.shared.note(text)
            case .warning, .error, .hostMisbehaving: Terminal.shared.warn(text)
            }
        }, isCancelled: { Interruption.request.isRaised })
}
