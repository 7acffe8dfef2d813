import Attribution
import LinearAlgebra
import PluginABI
import PluginHost

/// A scorer whose plugin runs in a worker: the same numbers as in the host, bit for bit, and its faults stay there.
package final class IsolatedScorer: AttributionScorer, LoadedPlugin {
    private let worker: IsolatedPlugin
    package let accumulation: (any AccumulatingScore)?

    package init(_ worker: IsolatedPlugin) {
        self.worker = worker
        accumulation = worker.created.outputs.map {
            IsolatedAccumulation(worker, outputs: $0, stateVersion: worker.created.stateVersion ?? 0)
        }
    }

    package var identity: PluginIdentity { worker.identity }
    package var scoresTokens: Bool { worker.created.scoresTokens }
    package var needs: BatchNeeds { worker.created.needs }

    package func score(_ batch: ScoringBatch, into scores: UnsafeMutableBufferPointer<Float>) throws {
        guard batch.codes.count > 0 else { return }
        let sent = batch.limited(to: needs)
        let reply = try worker.ask(
            .score, BatchHeader(sent, plan: nil), BatchHeader.blocks(sent), answering: EvaluationService(batch: batch))
        defer { extendLifetime(reply) }
        // The worker has checked them, and a plugin that wrote where it should not may have changed them since.
        let written = try received(worker) { try reply.buffer(1, Float.self, count: scores.count) }
        guard let e = written.firstIndex(where: { !$0.isFinite }) else {
            _ = scores.update(fromContentsOf: written)
            return
        }
        let (row, latent) = batch.codes.position(of: e)
        throw PluginCallError.nonFiniteScore(plugin: name, path: path, value: "\(written[e])", row: row, latent: latent)
    }
}

/// The totals of a scorer in a worker. The state is the host's, goes there with each call and comes back.
private final class IsolatedAccumulation: AccumulatingScore {
    let outputs: [ScorerOutput]
    let stateVersion: Int
    private let worker: IsolatedPlugin

    init(_ worker: IsolatedPlugin, outputs: [ScorerOutput], stateVersion: Int) {
        self.worker = worker
        self.outputs = outputs
        self.stateVersion = stateVersion
    }

    var isSequential: Bool { worker.created.isSequential }

    func passCount(_ plan: ScoringPlan) throws -> Int {
        let reply = try worker.ask(.passCount, plan)
        return try received(worker) {
            let count = try reply.header(Count.self).count
            guard (1...1_000_000).contains(count) else { throw Arena.Malformed(reason: "\(count) passes") }
            return count
        }
    }

    func accepts(stateOf version: String) throws -> Bool? {
        let reply = try worker.ask(.acceptsState, StateQuestion(version: version))
        return try received(worker) { try reply.header(StateAnswer.self).isAccepted }
    }

    func stateSize(_ plan: ScoringPlan) throws -> Int {
        let reply = try worker.ask(.stateSize, plan)
        let size = try received(worker) { try reply.header(Count.self).count }
        return try ForeignSize.check(size, "a state", plugin: worker.name, path: worker.path)
    }

    func begin(_ plan: ScoringPlan, state: UnsafeMutableRawBufferPointer) throws {
        try update(state, try worker.ask(.begin, plan, blocks(state)))
    }

    func accumulate(_ batch: ScoringBatch, _ plan: ScoringPlan, state: UnsafeMutableRawBufferPointer) throws {
        let sent = batch.limited(to: worker.created.needs)
        var blocks = BatchHeader.blocks(sent)
        blocks.add(state.baseAddress!, bytes: state.count, owner: worker)
        let reply = try worker.ask(
            .accumulate, BatchHeader(sent, plan: plan), blocks, answering: EvaluationService(batch: batch))
        try update(state, reply)
    }

    func merge(_ plan: ScoringPlan, state: UnsafeMutableRawBufferPointer, other: UnsafeRawBufferPointer) throws {
        var blocks = blocks(state)
        blocks.add(other.baseAddress!, bytes: other.count, owner: worker)
        try update(state, try worker.ask(.merge, plan, blocks))
    }

    func finish(
        _ plan: ScoringPlan, state: UnsafeRawBufferPointer, into results: [UnsafeMutableBufferPointer<Double>]
    ) throws {
        let reply = try worker.ask(.finish, plan, blocks(UnsafeMutableRawBufferPointer(mutating: state)))
        defer { extendLifetime(reply) }
        for (i, result) in results.enumerated() {
            let values = try received(worker) { try reply.buffer(1 + i, Double.self, count: result.count) }
            if let e = values.firstIndex(where: \.isInfinite) {
                throw PluginCallError.badOutputValue(
                    plugin: worker.name, path: worker.path, output: outputs[i].name, element: e, value: "\(values[e])")
            }
            _ = result.update(fromContentsOf: values)
        }
    }

    private func blocks(_ state: UnsafeMutableRawBufferPointer) -> ArenaBlocks {
        var blocks = ArenaBlocks()
        blocks.add(state.baseAddress!, bytes: state.count, owner: worker)
        return blocks
    }

    private func update(_ state: UnsafeMutableRawBufferPointer, _ reply: Arena) throws {
        let bytes = try received(worker) { try reply.buffer(1, UInt8.self, count: state.count) }
        state.copyBytes(from: UnsafeRawBufferPointer(bytes))
    }
}

/// What came back from a worker, or an error that blames it.
package func received<Value>(_ worker: IsolatedPlugin, _ body: () throws -> Value) throws -> Value {
    do { return try body() } catch {
        throw WorkerError.crashed(
            plugin: worker.name, path: worker.path, function: "a call", how: "sent back what does not fit (\(error))",
            lastWords: "", bundle: nil)
    }
}
