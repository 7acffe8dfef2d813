import PluginABI

/// A plugin in use, wherever it runs.
public protocol LoadedPlugin: AnyObject, Sendable {
    /// What it is, for messages and records.
    var identity: PluginIdentity { get }
}

/// What is known of a plugin in use.
public struct PluginIdentity: Sendable {
    let name: String
    let version: String
    let file: PluginFile
    let parameters: [PluginReference.Parameter]
    let runtime: [String: String]

    /// The plugin `name` of `file`, with its settings: all it describes, in its order, or those given; and what it runs on.
    package init(
        name: String, version: String, file: PluginFile, parameters: [PluginReference.Parameter],
        runtime: [String: String] = [:]
    ) {
        self.name = name
        self.version = version
        self.file = file
        self.parameters = parameters
        self.runtime = runtime
    }
}

extension LoadedPlugin {
    /// The plugin's id.
    public var name: String { identity.name }
    /// Its version, as it says it.
    public var version: String { identity.version }
    /// The file it is in.
    public var path: String { identity.file.path }
    /// What that file and the libraries beside it held when it was loaded, which is what every call runs; itself first.
    public var files: [FileHash] { identity.file.hashes }
    /// SHA-256 of its file as it was loaded.
    public var sha256: String { files.first?.sha256 ?? "" }
    /// Variables of the environment that may decide what it computes, as they are in this process.
    public var variables: [VariableHash] { identity.file.variables }
    /// Versions of what runs it and of what it computes with, by name, where that is not this program: "Python": "3.11.7".
    public var runtime: [String: String] { identity.runtime }
    /// Its settings: all it describes, in its order, or those given.
    public var parameters: [PluginReference.Parameter] { identity.parameters }
}
