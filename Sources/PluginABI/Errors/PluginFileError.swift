import TensorFiles

/// What can be wrong with a plugin's file, or with a file that was made by another one.
///
/// Each case reads: what failed, on which file, what to do next.
public enum PluginFileError: Error, Equatable, Codable, Sendable {
    /// The file or folder cannot be read.
    case unreadable(path: String, reason: String)
    /// Everybody may change the file.
    case worldWritable(path: String)
    /// The file is not a shared object of this system.
    case notASharedObject(path: String, found: String)
    /// The file was built for another processor.
    case wrongMachine(path: String, found: String, wanted: String)
    /// The dynamic loader refused the file.
    case notLoaded(path: String, reason: String)
    /// The file is Python, which no plugin in this process can be.
    case needsInterpreter(path: String)
    /// Another library of the process takes a symbol from the file, and loading it otherwise is not possible here.
    case symbolTaken(path: String, symbol: String, owner: String)
    /// What was kept was made by another build of the plugin; nil if it does not say by which.
    case otherBuild(path: String, plugin: String, found: String?, now: String)
    /// What was kept was made with another environment of plugins: a variable that was set there, is set here, or both.
    case otherEnvironment(path: String, variable: String, wasSet: Bool, isSet: Bool)
    /// A folder of DMSAE_PLUGIN_PATH that is none.
    case badFolder(reason: String)
    /// The system does not say where this program is.
    case unknownProgram(reason: String)
}

extension PluginFileError: CustomStringConvertible {
    /// The sentence that users see, fit for a terminal whatever the plugin or its file said.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .unreadable(let path, let reason):
            "plugin file \(path) cannot be read: \(reason); " + SystemAdvice.reading(reason, else: "correct the path")
        case .worldWritable(let path):
            "plugin file \(path) can be changed by every user of this machine; chmod o-w it once you trust its content"
        case .notASharedObject(let path, let found):
            "plugin file \(path) is not a shared object but \(found); build it with cc -shared -fPIC"
        case .wrongMachine(let path, let found, let wanted):
            "plugin file \(path) was built for \(found), this program for \(wanted); rebuild the plugin for \(wanted)"
        case .notLoaded(let path, let reason):
            "plugin file \(path) does not load: \(reason); "
                + (reason.hasSuffix("Too many open files")
                    ? "raise the limit (ulimit -n)" : "rebuild it, or install the library it needs")
        case .needsInterpreter(let path):
            "\(path) is run by an interpreter of Python, in a process of its own; leave --in-process out"
        case .symbolTaken(let path, let symbol, let owner):
            "plugin file \(path) would get \(symbol) from \(owner) instead of its own, because another allocator than libc's is "
                + "loaded (LD_PRELOAD, a sanitizer); run without it, or build the plugin with -fvisibility=hidden"
        case .otherBuild(let path, let plugin, let found, let now):
            "\(path) was made by "
                + (found.map { "another build of \(plugin) (sha256 \($0))" } ?? "a dmsae that did not keep "
                    + "which build of \(plugin) it ran")
                + ", this one is \(now); go on with what it was made with, name another file or "
                + "folder, or delete it"
        case .otherEnvironment(let path, let variable, let wasSet, let isSet):
            "\(path) was made with\(wasSet ? isSet ? " another value of" : "" : "out") the environment variable \(variable), "
                + "which plugins can read; \(wasSet ? "set it as it was" : "unset it"), name another file or folder, or "
                + "delete it"
        case .badFolder(let reason):
            "DMSAE_PLUGIN_PATH names it, and it cannot be read as a folder: \(reason); correct the variable"
        case .unknownProgram(let reason):
            "/proc/self/exe, which says where the plugins are, cannot be read: \(reason); mount /proc"
        }
    }
}
