import Attribution
import SparseCoding

/// A plugin of a file, each time in a fresh worker: what a validator needs that a run does not.
public struct PluginUnderTest: Sendable {
    /// The file, links resolved.
    public let path: String
    /// What its code says of it.
    public let plugin: PluginManifest.Plugin
    let parameters: [PluginReference.Parameter]
    let isolation: PluginIsolation
    /// What it may ask of this process, and whether it is time to stop.
    public let services: PluginServices

    /// Whether it is a sparsity rule.
    public var isRule: Bool { plugin.kind == "sparsity-rule" }

    /// What the code of a file says, in a worker.
    /// - Throws: a `PluginError`; `.crashed` if loading the file took the worker down.
    public static func describe(_ path: String, _ isolation: PluginIsolation, _ services: PluginServices) throws
        -> PluginManifest
    {
        let file = try PluginFile(path: path)
        do {
            let worker = try WorkerProcess(file, isolation, services)
            let request = CreateRequest(path: path, id: nil, isRule: false, parameters: [], memory: isolation.memory)
            return try worker.ask(.describe, request, reply: PluginManifest.self)
        } catch let failure as WorkerFailure {
            throw PluginError.crashed(
                plugin: path, path: path, function: "loading", how: failure.how, lastWords: failure.lastWords,
                bundle: nil)
        }
    }

    /// A plugin of a described file, with settings.
    public init(
        path: String, plugin: PluginManifest.Plugin, parameters: [PluginReference.Parameter],
        isolation: PluginIsolation,
        services: PluginServices
    ) {
        self.path = path
        self.plugin = plugin
        self.parameters = parameters
        self.isolation = isolation
        self.services = services
    }

    func worker(
        _ parameters: [PluginReference.Parameter], isUnchecked: Bool = false, isWatched: Bool = false,
        _ services: PluginServices
    ) throws -> IsolatedPlugin {
        var request = CreateRequest(
            path: path, id: plugin.id, isRule: isRule, parameters: parameters.map { [$0.key, $0.value] },
            memory: isolation.memory)
        request.isUnchecked = isUnchecked
        request.isWatched = isWatched
        return try IsolatedPlugin(request, isolation, services)
    }

    /// A fresh scorer. `extra` settings are added to those it was given; `isUnchecked` passes all to create as written.
    public func scorer(
        extra: [(String, String)] = [], isUnchecked: Bool = false, services: PluginServices? = nil
    ) throws -> any AttributionScorer & LoadedPlugin {
        let all = parameters + extra.map { PluginReference.Parameter(key: $0.0, value: $0.1) }
        return IsolatedScorer(try worker(all, isUnchecked: isUnchecked, services ?? self.services))
    }

    /// A fresh rule.
    /// - Throws: as `PluginCatalog.sparsityRule`.
    public func rule(
        extra: [(String, String)] = [], isUnchecked: Bool = false, services: PluginServices? = nil
    ) throws -> any SparsityRule & LoadedPlugin {
        let all = parameters + extra.map { PluginReference.Parameter(key: $0.0, value: $0.1) }
        return try IsolatedSparsityRule(try worker(all, isUnchecked: isUnchecked, services ?? self.services))
    }

    /// Whether the user set this key.
    public func isSet(_ key: String) -> Bool { parameters.contains { $0.key == key } }
}
