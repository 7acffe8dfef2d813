import PluginABI
import TensorFiles

/// What can be wrong with a process that runs a plugin.
///
/// Each case reads: what failed, on which plugin, what to do next.
public enum WorkerError: Error, Equatable, Sendable {
    /// The worker that a plugin ran in ended, or was ended, during a call.
    case crashed(plugin: String, path: String, function: String, how: String, lastWords: String, bundle: String?)
    /// It crashed so often that it is left alone.
    case notStartedAgain(plugin: String, path: String, crashes: Int)
    /// A variable that a plugin is to have and that is not there.
    case unsetVariable(String)
    /// A folder that holds no crash to replay.
    case badBundle(path: String, reason: String)
    /// It crashed on all that there was.
    case crashedThroughout(plugin: String, path: String)
    /// A call failed in it, and the plugin wrote to standard error meanwhile.
    case failed(PluginFailure, lastWords: String)
    /// What a crash was given cannot be kept.
    case notKept(folder: String, reason: String)
    /// It was not started by a host.
    case noHost
    /// The plugin closed what it talks to the host by.
    case brokenLine(reason: String)
    /// Questions to a model where there is none.
    case noEvaluation
    /// The whole sandbox is wanted, and the kernel lacks what a part of it takes.
    case sandboxMissing(part: String, needs: String)
    /// The kernel refused the sandbox.
    case sandboxRefused(call: String, reason: String)
    /// A worker speaks another version of the protocol.
    case otherProtocol(worker: String, found: Int, wanted: Int)
    /// There is no interpreter for a scorer in Python.
    case noInterpreter(name: String, reason: String)
    /// The Python package that scorers import is not there.
    case noPackage(folder: String)
    /// The program that a worker is to become cannot be executed.
    case notExecuted(program: String, reason: String)
}

extension WorkerError: CustomStringConvertible {
    /// The sentence that users see, fit for a terminal whatever the plugin or its file said.
    public var description: String {
        // Lines of a traceback stay lines.
        if case .failed = self { return printableLines(sentence) }
        return printable(sentence)
    }

    private var sentence: String {
        switch self {
        case .crashed(let plugin, let path, let function, let how, let lastWords, let bundle):
            "plugin '\(plugin)' \(how) in \(function); the plugin is \(path)"
                + (lastWords.isEmpty ? "" : "; its last words: \(lastWords)")
                + (bundle.map { "; what it was given is kept: dmsae plugin replay \($0)" } ?? "")
        case .notStartedAgain(let plugin, let path, let crashes):
            "plugin '\(plugin)' is not started again after \(crashes) crashes; correct \(path)"
        case .unsetVariable(let name):
            "the environment has no variable '\(name)' to pass on to plugins; set it, or leave --plugin-env \(name) out"
        case .badBundle(let path, let reason):
            "\(path) is not what a crash leaves: \(reason); name a folder that the message of a crash named"
        case .crashedThroughout(let plugin, let path):
            "scorer \(plugin) crashed on every batch, so nothing was scored; correct \(path)"
        case .failed(let failure, let lastWords):
            "\(failure)\("\(failure)".contains("\n") ? "\n" : "; ")to standard error it wrote: \(lastWords)"
        case .notKept(let folder, let reason): "\(folder): \(reason)"
        case .noHost: "this is the part of dmsae that runs a plugin; it is only started by dmsae itself"
        case .brokenLine(let reason):
            "the line to the host broke (\(reason)); a plugin closes only descriptors that it opened"
        case .noEvaluation: "nobody answers evaluations here"
        case .sandboxMissing(let part, let needs):
            "with --sandbox on a plugin \(part), which needs \(needs); `dmsae doctor` says what this kernel has, --sandbox "
                + "auto takes that"
        case .sandboxRefused(let call, let reason):
            "the sandbox cannot be entered (\(call)): \(reason); pass --sandbox off"
        case .otherProtocol(let worker, let found, let wanted):
            "\(worker) speaks version \(found) of the worker protocol, and this dmsae version \(wanted); use the two of "
                + "one release"
        case .noInterpreter(let name, let reason):
            "no Python for a scorer in Python: \(name): \(reason); install Python 3.9 or newer with numpy, or name an "
                + "interpreter with --python or DMSAE_PYTHON"
        case .noPackage(let folder):
            "the Python package dmsae, which came with this program, is not in \(folder); install the program again"
        case .notExecuted(let program, let reason): "\(program) cannot be started: \(reason)"
        }
    }
}
