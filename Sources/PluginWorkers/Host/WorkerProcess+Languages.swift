import Attribution
import PluginABI
import PluginHost

// What a host does with a worker whose program is not its own: it asks which version of the protocol that speaks, and
// reads settings for it.
extension WorkerProcess {
    /// Greets a worker, and says what it runs on: "Python": "3.11.7".
    /// - Throws: `WorkerError.otherProtocol`; as `ask`.
    func greeted(timeout: Double) throws -> [String: String] {
        let reply = try ask(
            .hello, Hello(version: WorkerChannel.version, host: HostIdentity.name, timeout: timeout),
            reply: HelloReply.self)
        guard reply.version == WorkerChannel.version else {
            throw WorkerError.otherProtocol(
                worker: reply.worker, found: reply.version, wanted: WorkerChannel.version)
        }
        return reply.runtime
    }

    /// Creates a scorer in a worker that takes every setting in its one form, and no other.
    /// - Throws: `PluginReferenceError`; `WorkerFailure`; the error of what the plugin refused.
    func createDescribed(_ request: CreateRequest) throws -> CreateReply {
        let manifest = try ask(.describe, request, reply: PluginManifest.self)
        var request = request
        let plugin = try manifest.plugin(request.id, kind: request.isRule ? .sparsityRule : .scorer, path: request.path)
        request.id = plugin.id
        if !request.isUnchecked {
            let given = request.parameters.map { PluginReference.Parameter(key: $0[0], value: $0[1]) }
            request.parameters = try ParameterSpec.settings(
                (plugin.parameters ?? []).map(\.spec), given, plugin: plugin.id, path: request.path
            ).map { [$0.key, $0.value] }
        }
        let reply = try ask(.create, request, reply: CreateReply.self)
        // Rankings are made of the first, and others are found by their numbers.
        let outputs = reply.outputs ?? []
        let references = outputs.flatMap { [$0.standardErrorOf, $0.countOf].compactMap { $0 } }
        guard reply.outputs == nil || outputs.first?.shape == .latent, references.allSatisfy(outputs.indices.contains),
            reply.scoresTokens || reply.outputs != nil
        else { throw WorkerFailure(how: "sent back outputs that do not fit", lastWords: "") }
        return reply
    }
}
