import Attribution
import PluginABI
import PluginHost
import PluginWorkers
import SparseCoding

/// A plugin of a file, each time in a fresh worker: what a validator needs that a run does not.
struct PluginUnderTest: Sendable {
    /// The file, links resolved.
    let path: String
    /// What its code says of it.
    let plugin: PluginManifest.Plugin
    let parameters: [PluginReference.Parameter]
    let isolation: PluginIsolation
    /// What it may ask of this process, and whether it is time to stop.
    let services: PluginServices

    /// Whether it is a sparsity rule.
    var isRule: Bool { plugin.kind == "sparsity-rule" }

    /// A plugin of a described file, with settings.
    init(
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
            path: path, id: plugin.id, isRule: isRule, parameters: parameters, memory: isolation.memory)
        request.isUnchecked = isUnchecked
        request.isWatched = isWatched
        return try IsolatedPlugin(request, isolation, services)
    }

    /// A fresh scorer. `extra` settings are added to those it was given; `isUnchecked` passes all to create as written.
    func scorer(
        extra: [(String, String)] = [], isUnchecked: Bool = false, services: PluginServices? = nil
    ) throws -> any AttributionScorer & LoadedPlugin {
        let all = parameters + extra.map { PluginReference.Parameter(key: $0.0, value: $0.1) }
        return IsolatedScorer(try worker(all, isUnchecked: isUnchecked, services ?? self.services))
    }

    /// A fresh rule.
    /// - Throws: as `PluginCatalog.sparsityRule`.
    func rule(
        extra: [(String, String)] = [], isUnchecked: Bool = false, services: PluginServices? = nil
    ) throws -> any SparsityRule & LoadedPlugin {
        let all = parameters + extra.map { PluginReference.Parameter(key: $0.0, value: $0.1) }
        return try IsolatedSparsityRule(try worker(all, isUnchecked: isUnchecked, services ?? self.services))
    }

    /// Whether the user set this key.
    func isSet(_ key: String) -> Bool { parameters.contains { $0.key == key } }
}
