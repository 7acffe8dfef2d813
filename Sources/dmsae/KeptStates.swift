import Attribution
import PluginABI
import PluginHost
import TensorFiles

/// States that a scorer goes on from: those of its own state version, settings and plan. Another build of the plugin is no
/// reason to refuse one, since a mended slip must not cost a pass: the plugin says whether it will do, and where it does not the
/// user is told (DMSAE-STATE-05, 06).
final class KeptStates {
    /// The entry of keys and records that names the builds which made what was gone on from.
    static let entry = "scorer.other_builds"
    private let plugin: any AttributionScorer & LoadedPlugin
    private let key: PassKey
    /// "1.0.0 (contrast.so.sha256 9f…)", each once.
    private(set) var others: Set<String> = []

    /// States for a pass with the given key.
    init(_ plugin: any AttributionScorer & LoadedPlugin, _ key: PassKey) {
        self.plugin = plugin
        self.key = key
    }

    /// The key with the builds that were met.
    var keyWithOthers: PassKey {
        var key = key
        key[Self.entry] = others.isEmpty ? nil : others.sorted().joined(separator: ", ")
        return key
    }

    /// Judges the builds that made the file `path`: entries of its key that may be other than this pass's.
    ///
    /// - Throws: `PluginFileError.otherBuild`, `.otherEnvironment`; `TensorFileError` for a file that cannot be read.
    func vet(_ path: String) throws -> Set<String> {
        let kept = try SafetensorsFile(path: path).metadata["key"] ?? ""
        guard let found = try? JSONRecord.decode([String: String].self, from: kept, in: path) else { return [] }
        let builds = PluginBuilds([plugin])
        let files = try builds.otherBuilds(in: found, of: path)
        for other in (found[Self.entry] ?? "").split(separator: ", ") { others.insert(String(other)) }
        let judged = files.union([Self.entry, "scorer.version"])
        // Of another scorer, or of one with other settings: that is told by who compares the rest of the key.
        guard !files.isEmpty, found["scorer"] == key["scorer"] else { return judged }
        let version = found["scorer.version"] ?? ""
        let name = files.sorted().first { found[$0] != nil } ?? files.sorted()[0]
        switch try plugin.accumulation?.accepts(stateOf: version) {
        case true?: break
        case false?:
            throw PluginFileError.otherBuild(
                path: path, plugin: "\(plugin.name) \(plugin.version)", found: found[name], now: plugin.sha256)
        case nil:
            Terminal.shared.warn(
                "\(path) was made by another build of \(plugin.name) (\(printable(version))); this one is "
                    + "\(plugin.version), with the same state version, and goes on from it")
        }
        others.insert("\(version) (\(name) \(found[name] ?? "none"))")
        return judged
    }
}
