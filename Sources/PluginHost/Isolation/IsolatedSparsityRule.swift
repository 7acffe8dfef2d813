import LinearAlgebra
import SparseCoding

/// A sparsity rule whose plugin runs in a worker.
final class IsolatedSparsityRule: SparsityRule, LoadedPlugin {
    private let worker: IsolatedPlugin
    let scope: SelectionScope

    /// - Throws: `PluginError.crashed` if the worker names no scope; `.onlyInProcess` for a rule that learns.
    init(_ worker: IsolatedPlugin) throws {
        self.worker = worker
        // Its gradients are as large as the candidates, at every step; no such foreign rule is known to pay for it with.
        guard worker.created.isPlain else { throw PluginError.onlyInProcess(plugin: worker.name, path: worker.path) }
        scope = try received(worker) {
            guard let scope = worker.created.scope.flatMap(SelectionScope.init) else {
                throw WorkerChannel.Broken(reason: "no scope")
            }
            return scope
        }
    }

    var name: String { worker.name }
    var version: String { worker.version }
    var path: String { worker.path }
    var parameters: [PluginReference.Parameter] { worker.parameters }

    func upperCount(_ context: SelectionContext) throws -> Int {
        let reply = try worker.ask(.upperCount, SelectionHeader(context, nil))
        return try received(worker) { try reply.header(Count.self).count }
    }

    func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
    ) throws {
        guard candidates.count > 0 else { return }
        var blocks = ArenaBlocks()
        blocks.add(candidates)
        let reply = try worker.ask(.select, SelectionHeader(context, candidates), blocks)
        defer { extendLifetime(reply) }
        let marks = try received(worker) { try reply.buffer(1, UInt8.self, count: candidates.count) }
        if let e = marks.firstIndex(where: { $0 > 1 }) {
            let (row, latent) = candidates.position(of: e)
            throw PluginError.badMark(plugin: name, path: path, value: marks[e], row: row, latent: latent)
        }
        _ = selected.update(fromContentsOf: marks)
    }
}
