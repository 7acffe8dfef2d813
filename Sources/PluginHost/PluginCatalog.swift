import Attribution
import Glibc
import PluginABI
import SparseCoding
import TensorFiles

/// The plugins within reach: the shipped ones, then those in the folders of DMSAE_PLUGIN_PATH.
public struct PluginCatalog: Sendable {
    /// Holds the program, resolved.
    public let executableFolder: String
    /// Holds `libdmsae-plugin-….so` among files that are none of ours; see `shippedFolder(of:)`.
    public let shippedFolder: String
    /// Folders of plugins: every `.so` in them is taken for one.
    public let searchPath: [String]
    /// Variables that count for plugins in this process beside those that count for all: what `--plugin-env` named.
    public var environment: [String] = []

    /// A catalog of the given folders.
    public init(executableFolder: String, searchPath: [String] = []) {
        self.executableFolder = executableFolder
        shippedFolder = Self.shippedFolder(of: executableFolder)
        self.searchPath = searchPath
    }

    /// The folder of this program, and DMSAE_PLUGIN_PATH (folders separated by colons). The variable is ignored in a
    /// program that runs with more rights than its caller.
    public init() throws {
        guard let resolved = realpath("/proc/self/exe", nil) else {
            throw PluginFileError.unknownProgram(reason: String(cString: strerror(errno)))
        }
        defer { free(resolved) }
        let executable = String(cString: resolved)
        let folder = executable[..<(executable.lastIndex(of: "/") ?? executable.startIndex)]
        let isPrivileged = getuid() != geteuid() || getgid() != getegid()
        let variable = isPrivileged ? "" : getenv("DMSAE_PLUGIN_PATH").map { String(cString: $0) } ?? ""
        self.init(
            executableFolder: folder.isEmpty ? "/" : String(folder),
            searchPath: variable.split(separator: ":").map(String.init))
    }

    private var folders: [String] { [shippedFolder] + searchPath }

    /// What came with the program in a folder: `lib/dmsae` beside a `bin` that it was installed in, and otherwise, as in a
    /// build folder, the same folder.
    package static func shippedFolder(of folder: String) -> String {
        guard folder.hasSuffix("/bin"), let path = realpath(folder + "/../lib/dmsae", nil) else { return folder }
        defer { free(path) }
        return String(cString: path)
    }

    /// Whether a file was built with the executable; such a one needs no process of its own.
    package func isShipped(_ path: String) -> Bool { path.hasPrefix("\(shippedFolder)/\(Self.prefix)") }

    /// Every plugin, in the order in which names are looked up, and every file or folder that gives none.
    ///
    /// - Parameter describe: says what the code of a file holds, which takes loading and so running it, somewhere.
    package func list(describe: (String) throws -> PluginManifest) -> [PluginListing] {
        var listings: [PluginListing] = []
        for folder in folders {
            if let warning = warning(of: folder) { listings.append(PluginListing(path: folder, warning: warning)) }
            do {
                for path in try files(of: folder) {
                    do {
                        listings += try describe(path).plugins.map {
                            PluginListing(
                                id: $0.id, kind: $0.kind.replacing("-", with: " "), version: $0.version,
                                description: $0.description, path: path)
                        }
                    } catch {
                        listings.append(PluginListing(path: path, error: "\(error)"))
                    }
                }
            } catch {
                listings.append(PluginListing(path: folder, error: "\(error)"))
            }
        }
        return marked(listings)
    }

    /// The same with those marked that their name does not mean, because another file comes before theirs.
    private func marked(_ listings: [PluginListing]) -> [PluginListing] {
        var meant: [String: String] = [:]
        for entry in listings {
            guard let id = entry.id else { continue }
            let named = folders.map { "\($0)/\(Self.prefix)\(id).so" }
            meant[id] =
                meant[id] ?? named.first { path in listings.contains { $0.path == path && $0.id == id } } ?? entry.path
        }
        var seen: Set<String> = []
        return listings.map { entry in
            var entry = entry
            guard let id = entry.id, let path = meant[id] else { return entry }
            // The first time that it is met is the one that counts, if a folder is there twice.
            if entry.path != path || !seen.insert(id).inserted { entry.shadowedBy = path }
            return entry
        }
    }

    /// What is wrong with a folder that can be read; nil if nothing is.
    private func warning(of folder: String) -> String? {
        var status = stat()
        guard stat(folder, &status) == 0, status.st_mode & S_IWOTH != 0 else { return nil }
        return "every user of this machine can put plugins into this folder; chmod o-w it once you trust its content"
    }

    /// What is wrong with a folder of the search path; nil if nothing is.
    public func problem(of folder: String) -> String? {
        do { _ = try files(of: folder) } catch { return "\(error)" }
        return warning(of: folder)
    }

    /// The plugin files of a folder for a search, which goes on without one that cannot be read. Says what
    /// is wrong with it.
    private func searched(_ folder: String, _ services: PluginServices) -> [String] {
        func warn(_ text: String) {
            services.log(PluginMessage(level: .warning, plugin: "folder \(folder)", text: text))
        }
        if let warning = warning(of: folder) { warn(warning) }
        do { return try files(of: folder) } catch {
            warn("\(error)")
            return []
        }
    }

    /// The scorer that a reference such as `gxa` or `./scorer.so,alpha=2` names, in this process.
    /// - Throws: a `PluginReferenceError`, `PluginFileError`, `PluginABIError` or `PluginCallError`.
    public func scorer(_ reference: String, services: PluginServices) throws -> any AttributionScorer & LoadedPlugin {
        let reference = try PluginReference(reference)
        let (file, id) = try find(reference, services)
        if let signature = try FunctionSignature(of: file) {
            return try PlainFunction(file, symbol: id, signature: signature, parameters: reference.parameters)
        }
        let library = try PluginLibrary(file), plugin = try library.plugin(id, kind: .scorer)
        return try PluginScorer(plugin, of: library, parameters: reference.parameters, services: services)
    }

    /// The sparsity rule that a reference such as `batchtopk` names, in this process.
    /// - Throws: as `scorer`.
    public func sparsityRule(_ reference: String, services: PluginServices) throws -> any SparsityRule & LoadedPlugin {
        let reference = try PluginReference(reference)
        let (file, id) = try find(reference, services)
        let library = try PluginLibrary(file), plugin = try library.plugin(id, kind: .sparsityRule)
        return try PluginSparsityRule(
            plugin, of: library, parameters: reference.parameters, services: services,
            keepsLargest: id == "batchtopk" && isShipped(file.path))
    }

    /// The file that a reference means, links resolved. Runs no code of a file that is given by its path or called
    /// after its plugin; of others as `describe` does, in this process where nothing else is said.
    /// - Throws: a `PluginReferenceError`, a `PluginFileError`.
    package func path(
        _ reference: String, services: PluginServices, describe: ((String) throws -> PluginManifest)? = nil
    ) throws -> String {
        switch try PluginReference(reference).place {
        case .file(let path, _): return try resolved(path)
        case .name(let name):
            let paths: [String] = folders.map { "\($0)/\(Self.prefix)\(name).so" }
            return try paths.first { access($0, F_OK) == 0 } ?? path(named: name, services, describe ?? Self.describe)
        }
    }

    /// What the code of a file says, run in this process.
    package static func describe(_ path: String) throws -> PluginManifest {
        try PluginManifest(describing: PluginFile(path: path))
    }

    /// The file that a reference means, and the plugin in it; nil for the only one.
    private func find(_ reference: PluginReference, _ services: PluginServices) throws -> (PluginFile, String?) {
        let (path, id): (String, String?) =
            switch reference.place {
            case .file(let path, let id): (path, id)
            case .name(let name): (try self.path(named: name, services, Self.describe), name)
            }
        let resolved = try self.resolved(path)
        let variables = isShipped(resolved) ? [] : PluginEnvironment.hashes(also: environment)
        return (try PluginFile(path: resolved, variables: variables), id)
    }

    /// An absolute path without links.
    package func resolved(_ path: String) throws -> String {
        guard let resolved = realpath(path, nil) else {
            throw PluginFileError.unreadable(path: path, reason: String(cString: strerror(errno)))
        }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// The first file that holds `name`. The file called after it is tried first, so that a name in daily use does not
    /// load, and so run, every other plugin; and what is wrong with that file is an error, not a reason to look on. A
    /// manifest is believed: the file is loaded next, and its code has the last word.
    package func path(
        named name: String, _ services: PluginServices, _ describe: (String) throws -> PluginManifest
    ) throws -> String {
        func ids(_ path: String) throws -> [String] {
            try (PluginManifest(path: path) ?? describe(path)).plugins.map(\.id)
        }
        for folder in folders {
            let path = "\(folder)/\(Self.prefix)\(name).so"
            if access(path, F_OK) == 0, try ids(path).contains(name) { return path }
        }
        var known: [String] = []
        var unloadable = 0
        for folder in folders {
            for path in searched(folder, services) {
                // A file that does not load cannot hold the name; it is counted for the message below.
                guard let found = Result(catching: { try ids(path) }).success else {
                    unloadable += 1
                    continue
                }
                if found.contains(name) { return path }
                known += found
            }
        }
        throw PluginReferenceError.unknownName(name, folders: folders, known: known, unloadable: unloadable)
    }

    private static let prefix = "libdmsae-plugin-"

    /// The plugin files of a folder, by name.
    private func files(of folder: String) throws -> [String] {
        let names: [String]
        do {
            names = try namesInFolder(folder)
        } catch TensorFileError.unreadable(_, let reason) {
            if folder == shippedFolder { throw PluginFileError.unreadable(path: folder, reason: reason) }
            throw PluginFileError.badFolder(reason: reason)
        }
        return names.filter { $0.hasSuffix(".so") && (folder != shippedFolder || $0.hasPrefix(Self.prefix)) }
            .map { "\(folder)/\($0)" }
    }
}

extension Result {
    fileprivate var success: Success? {
        if case .success(let value) = self { value } else { nil }
    }
}
