import PluginABI
import PluginHost
import TensorFiles

extension LoadedPlugin {
    /// SHA-256 of its files as they were loaded, whatever is there by now, by `role` and, of those beside it, name.
    /// With them those of the variables that it may read.
    func hashes(_ role: String) -> [String: String] {
        var result = files.dropFirst().reduce(into: [role: sha256]) { $0["\(role) \($1.name)"] = $1.sha256 }
        for variable in variables { result["\(role) variable \(variable.name)"] = variable.sha256 }
        for (name, version) in runtime { result["\(role) runtime \(name)"] = version }
        return result
    }
}

/// The builds of plugins that a pass is made with, for its key and its records: SHA-256 of their files and of the variables
/// of the environment that they may read, by name.
struct PluginBuilds {
    /// "contrast.so.sha256": "9f…", of two files of one name, from other folders, both; "plugin variable LANG.sha256": "3c…".
    /// With them versions of what runs those in Python: "plugin runtime numpy": "2.4.6".
    var entries: [String: String] { files.merging(variables) { own, _ in own }.merging(runtime) { own, _ in own } }
    private var runtime: [String: String] = [:]
    private var files: [String: String] = [:]
    private var variables: [String: String] = [:]
    private static let suffix = ".sha256", variable = "plugin variable "

    /// The builds of loaded plugins.
    init(_ plugins: [any LoadedPlugin]) {
        for file in plugins.flatMap(\.files) {
            let name = file.name + Self.suffix, known = files[name]
            if known?.contains(file.sha256) != true { files[name] = (known.map { $0 + " " } ?? "") + file.sha256 }
        }
        // Those of one process are the same for all plugins in it.
        for variable in plugins.flatMap(\.variables) {
            variables[Self.variable + variable.name + Self.suffix] = variable.sha256
        }
        for (name, version) in plugins.flatMap(\.runtime) { runtime["plugin runtime \(name)"] = version }
    }

    /// Refuses what is kept in the file `path` if other builds of these plugins, or the same in another environment, made it. What is of another pass for other
    /// reasons is left to those who compare the rest of its key.
    ///
    /// - Throws: `PluginFileError.otherBuild`, `.otherEnvironment`; `TensorFileError` for a file that cannot be read.
    func requireThose(of path: String) throws {
        let kept = try SafetensorsFile(path: path).metadata["key"] ?? ""
        guard let found = try? JSONRecord.decode([String: String].self, from: kept, in: path) else { return }
        // From before builds were kept.
        let saysNone = !found.keys.contains(where: Self.isBuild)
        for (name, sha256) in files.sorted(by: { $0.key < $1.key }) {
            let other = found[name]
            guard other == nil ? saysNone : other != sha256 else { continue }
            throw PluginFileError.otherBuild(
                path: path, plugin: String(name.dropLast(Self.suffix.count)), found: other, now: sha256)
        }
        try requireVariables(of: found, in: path)
    }

    /// In what the key of a file names other builds of these plugins, or builds of others.
    ///
    /// - Throws: `PluginFileError.otherEnvironment`.
    func otherBuilds(in found: [String: String], of path: String) throws -> Set<String> {
        try requireVariables(of: found, in: path)
        let named = found.keys.filter(Self.isBuild)
        return Set(files.keys).union(named).filter { found[$0] != files[$0] }
    }

    /// Whether an entry of a key is of a plugin's file.
    private static func isBuild(_ name: String) -> Bool {
        name.hasSuffix(".so" + suffix) || name.hasSuffix(".py" + suffix)
    }

    private func requireVariables(of found: [String: String], in path: String) throws {
        let known = found.keys.filter { $0.hasPrefix(Self.variable) }
        for name in Set(known).union(variables.keys).sorted() where found[name] != variables[name] {
            throw PluginFileError.otherEnvironment(
                path: path, variable: String(name.dropFirst(Self.variable.count).dropLast(Self.suffix.count)),
                wasSet: found[name] != nil, isSet: variables[name] != nil)
        }
    }
}
