import Attribution
import PluginABI
import PluginHost
import SparseCoding

extension PluginManifest {
    /// What the code of a file says, in a worker.
    /// - Throws: the error of the file; `WorkerError.crashed` if loading it took the worker down.
    package init(_ path: String, _ isolation: PluginIsolation, _ services: PluginServices) throws {
        let file = try PluginFile(path: path)
        do {
            let worker = try WorkerProcess(file, isolation, services)
            let request = CreateRequest(path: path, id: nil, isRule: false, parameters: [], memory: isolation.memory)
            self = try worker.ask(.describe, request, reply: PluginManifest.self)
        } catch let failure as WorkerFailure {
            throw WorkerError.crashed(
                plugin: path, path: path, function: "loading", how: failure.how, lastWords: failure.lastWords,
                bundle: nil)
        }
    }
}

/// The catalog for programs that keep foreign plugins apart: what is not beside the executable runs in workers.
extension PluginCatalog {
    /// What the code of a file says, in a worker unless it was shipped with the program.
    ///
    /// - Parameter isolation: nil runs everything in this process.
    /// - Throws: the error of the file; `WorkerError.crashed` if loading it took the worker down.
    public func describe(_ path: String, services: PluginServices, isolation: PluginIsolation?) throws -> PluginManifest
    {
        guard let isolation, !isShipped(path) else { return try Self.describe(path) }
        return try PluginManifest(path, isolation, services)
    }

    /// As `list(describe:)`, where `isolation` says.
    public func list(services: PluginServices, isolation: PluginIsolation? = nil) -> [PluginListing] {
        list { try describe($0, services: services, isolation: isolation) }
    }

    /// The file that a reference means, links resolved; as `path(_:services:describe:)`, where `isolation` says.
    /// - Throws: a `PluginReferenceError`, a `PluginFileError`.
    public func path(
        _ reference: String, services: PluginServices = PluginServices(log: { _ in }),
        isolation: PluginIsolation? = nil
    ) throws -> String {
        try path(reference, services: services) { try describe($0, services: services, isolation: isolation) }
    }

    /// The scorer that a reference such as `gxa` or `./scorer.so,alpha=2` names.
    ///
    /// - Parameter isolation: how to run what was not shipped with the program; nil runs
    ///   everything in this process.
    /// - Throws: an error of the reference, the file or what it exports; a `PluginCallError`, a `WorkerError`.
    public func scorer(
        _ reference: String, services: PluginServices, isolation: PluginIsolation?
    ) throws -> any AttributionScorer & LoadedPlugin {
        guard let worker = try worker(reference, .scorer, services, isolation) else {
            return try scorer(reference, services: services)
        }
        return IsolatedScorer(worker)
    }

    /// The sparsity rule that a reference such as `batchtopk` names; as `scorer`.
    /// - Throws: as `scorer`.
    public func sparsityRule(
        _ reference: String, services: PluginServices, isolation: PluginIsolation?
    ) throws -> any SparsityRule & LoadedPlugin {
        guard let worker = try worker(reference, .sparsityRule, services, isolation) else {
            return try sparsityRule(reference, services: services)
        }
        return try IsolatedSparsityRule(worker)
    }

    /// The plugin in a worker, unless it is to run here: what is shipped was built with the program.
    private func worker(
        _ text: String, _ kind: PluginKind, _ services: PluginServices, _ isolation: PluginIsolation?
    ) throws -> IsolatedPlugin? {
        guard let isolation else { return nil }
        let reference = try PluginReference(text)
        let (path, id): (String, String?) =
            switch reference.place {
            case .file(_, let id): (try path(text, services: services, isolation: isolation), id)
            case .name(let name):
                (try path(named: name, services) { try describe($0, services: services, isolation: isolation) }, name)
            }
        if isShipped(path) { return nil }
        let request = CreateRequest(
            path: path, id: id, isRule: kind == .sparsityRule, parameters: reference.parameters,
            memory: isolation.memory)
        return try IsolatedPlugin(request, isolation, services)
    }
}
