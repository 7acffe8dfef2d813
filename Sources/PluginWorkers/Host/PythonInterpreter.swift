import Glibc
import PluginABI
import PluginHost
import TensorFiles

/// What runs a file of scorers in Python: the user's own interpreter, so that whatever is installed for it is there, and
/// the worker of the package `dmsae`, which came with this program.
struct PythonInterpreter {
    /// The interpreter. Links are not followed: a virtual environment is known by where its link is.
    let path: String
    /// The program that it runs.
    let worker: String

    /// The interpreter `name`, a path or a name on PATH; else the one of DMSAE_PYTHON; else `python3`.
    ///
    /// - Parameter executable: the program whose package is wanted.
    /// - Throws: `WorkerError.noInterpreter`, `.noPackage`.
    init(named name: String?, executable: String) throws {
        let variable = getenv("DMSAE_PYTHON").map { String(cString: $0) } ?? ""
        path = try Self.found(name ?? (variable.isEmpty ? "python3" : variable))
        worker = try Self.package(of: executable) + "/worker.py"
    }

    private static func found(_ name: String) throws -> String {
        func isProgram(_ path: String) -> Bool {
            var status = stat()
            return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
        }
        if name.contains("/") {
            if isProgram(name) { return name }
            let reason = access(name, X_OK) == 0 ? "Is a directory" : String(cString: strerror(errno))
            throw WorkerError.noInterpreter(name: name, reason: reason)
        }
        for folder in (getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin").split(separator: ":") {
            let path = "\(folder)/\(name)"
            if isProgram(path) { return path }
        }
        throw WorkerError.noInterpreter(name: name, reason: "there is no such program on PATH")
    }

    /// The folder of the package: `python/dmsae` beside the shipped plugins, or, of a program that was built and not installed,
    /// `Plugins/Python/dmsae` of its sources.
    private static func package(of executable: String) throws -> String {
        guard let resolved = realpath(executable, nil) else {
            throw PluginFileError.unknownProgram(reason: String(cString: strerror(errno)))
        }
        defer { free(resolved) }
        var place = parentFolder(of: String(cString: resolved))
        let shipped = PluginCatalog.shippedFolder(of: place) + "/python"
        var places = [shipped]
        // .build/x86_64-unknown-linux-gnu/release
        for _ in 0..<3 {
            place = parentFolder(of: place)
            places.append(place + "/Plugins/Python")
        }
        guard let found = places.first(where: { access($0 + "/dmsae/worker.py", R_OK) == 0 }) else {
            throw WorkerError.noPackage(folder: shipped)
        }
        return found + "/dmsae"
    }
}
