import TensorFiles

/// What can be wrong with what a user wrote where a plugin is wanted.
///
/// Each case reads: what failed, on which value, what to do next.
public enum PluginReferenceError: Error, Equatable, Codable, Sendable {
    /// A reference that cannot be read.
    case badReference(String, reason: String)
    /// No plugin of this name where plugins are looked for.
    case unknownName(String, folders: [String], known: [String], unloadable: Int)
    /// The file holds no plugin of this id.
    case unknownID(String, path: String, available: [String])
    /// The file holds several plugins of the wanted kind, and none was named.
    case ambiguous(path: String, kind: PluginKind, ids: [String])
    /// The plugin is of another kind than the one asked for.
    case wrongKind(plugin: String, path: String, kind: PluginKind, wanted: PluginKind)
    /// A setting that the plugin does not take.
    case unknownParameter(plugin: String, path: String, key: String, known: [String])
    /// A value that is not legal for its setting.
    case badParameter(plugin: String, key: String, value: String, legal: String)
    /// A setting that has no default and was not given.
    case missingParameter(plugin: String, key: String, description: String)
}

extension PluginReferenceError: CustomStringConvertible {
    /// The sentence that users see, fit for a terminal whatever the plugin or its file said.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .badReference(let text, let reason):
            "plugin reference '\(text)': \(reason); write NAME, PATH.so, PATH.py or PATH.so:ID, then ,KEY=VALUE for each "
                + "parameter"
        case .unknownName(let name, let folders, let known, let unloadable):
            "no plugin named '\(name)' in \(list(folders)); there \(known.count == 1 ? "is" : "are") "
                + (known.isEmpty ? "none" : list(known))
                + (unloadable == 0 ? "" : ", and \(unloadable) that did not load (see `dmsae plugin list`)")
                + "; correct the name, give a path ending in .so or .py, or add a folder to DMSAE_PLUGIN_PATH"
        case .unknownID(let id, let path, let available):
            "\(path) holds no plugin '\(id)'; it holds \(list(available)); correct the part after the colon"
        case .ambiguous(let path, let kind, let ids):
            "\(path) holds several plugins of kind \(kind): \(list(ids)); name one, as \(path):\(ids.first ?? "ID")"
        case .wrongKind(let plugin, let path, let kind, let wanted):
            "plugin '\(plugin)' of \(path) is a \(kind), and a \(wanted) is wanted here; "
                + "`dmsae plugin list` shows the kinds"
        case .unknownParameter(let plugin, let path, let key, let known):
            "unknown parameter '\(key)'; "
                + (nearest(key, among: known).map { "did you mean '\($0)'? " } ?? "")
                + (known.isEmpty ? "\(plugin) takes none" : "\(plugin) takes \(known.joined(separator: ", "))")
                + "; see `dmsae plugin inspect \(path)`"
        case .badParameter(let plugin, let key, let value, let legal):
            "\(key) of \(plugin) is '\(value)'; give \(legal)"
        case .missingParameter(let plugin, let key, let description):
            "\(plugin) needs \(key) (\(description)); write \(plugin),\(key)=VALUE"
        }
    }
}

private func list(_ items: [String]) -> String { items.map { "'\($0)'" }.joined(separator: ", ") }
