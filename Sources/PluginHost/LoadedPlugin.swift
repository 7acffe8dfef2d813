import PluginABI

/// What is known of a plugin in use, wherever it runs.
public protocol LoadedPlugin: AnyObject, Sendable {
    /// The plugin's id.
    var name: String { get }
    /// The plugin's version.
    var version: String { get }
    /// The file it is in.
    var path: String { get }
    /// What that file and the libraries beside it held when it was loaded, which is what every call runs; itself first.
    var files: [FileHash] { get }
    /// Variables of the environment that may decide what it computes, as they are in this process.
    var variables: [VariableHash] { get }
    /// Its settings: all it describes, in its order, or those given.
    var parameters: [PluginReference.Parameter] { get }
}

extension LoadedPlugin {
    /// SHA-256 of its file as it was loaded.
    public var sha256: String { files.first?.sha256 ?? "" }
}
