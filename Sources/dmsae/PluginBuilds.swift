import PluginHost
import TensorFiles

extension LoadedPlugin {
    /// SHA-256 of its files as they were loaded, whatever is there by now, by `role` and, of those beside it, name.
    func hashes(_ role: String) -> [String: String] {
        files.dropFirst().reduce(into: [role: sha256]) { $0["\(role) \($1.name)"] = $1.sha256 }
    }
}

/// The builds of plugins that a pass is made with: SHA-256 of their files, by name, for its key and its records.
struct PluginBuilds {
    /// "contrast.so.sha256": "9f…"; of two files of one name, from other folders, both.
    private(set) var entries: [String: String] = [:]
    private static let suffix = ".sha256"

    /// The builds of loaded plugins.
    init(_ plugins: [any LoadedPlugin]) {
        for file in plugins.flatMap(\.files) {
            let name = file.name + Self.suffix, known = entries[name]
            if known?.contains(file.sha256) != true { entries[name] = (known.map { $0 + " " } ?? "") + file.sha256 }
        }
    }

    /// Refuses what is kept in the file `path` if other builds of these plugins made it. What is of another pass for other
    /// reasons is left to those who compare the rest of its key.
    ///
    /// - Throws: `PluginError.otherBuild`; `TensorFileError` for a file that cannot be read.
    func requireThose(of path: String) throws {
        let kept = try SafetensorsFile(path: path).metadata["key"] ?? ""
        guard let found = try? JSONRecord.decode([String: String].self, from: kept, in: path) else { return }
        // From before builds were kept.
        let saysNone = !found.keys.contains { $0.hasSuffix(".so" + Self.suffix) }
        for (name, sha256) in entries.sorted(by: { $0.key < $1.key }) {
            let other = found[name]
            guard other == nil ? saysNone : other != sha256 else { continue }
            throw PluginError.otherBuild(
                path: path, plugin: String(name.dropLast(Self.suffix.count)), found: other, now: sha256)
        }
    }
}
