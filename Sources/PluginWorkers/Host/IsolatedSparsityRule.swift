import LinearAlgebra
import PluginABI
import PluginHost
import SparseCoding

/// A sparsity rule whose plugin runs in a worker.
package final class IsolatedSparsityRule: SparsityRule, LoadedPlugin {
    private let worker: IsolatedPlugin
    package let scope: SelectionScope
    package let learning: (any SparsityRuleLearning)?
    package let inference: (any SparsityRuleInference)?

    /// - Throws: `WorkerError.crashed` if the worker names no scope.
    package init(_ worker: IsolatedPlugin) throws {
        self.worker = worker
        learning = worker.created.tensors.map { IsolatedRuleLearning(worker, $0) }
        inference = worker.created.inferenceVersion.map { IsolatedRuleInference(worker, stateVersion: $0) }
        scope = try received(worker) {
            guard let scope = worker.created.scope.flatMap(SelectionScope.init) else {
                throw WorkerChannel.Broken(reason: "no scope")
            }
            return scope
        }
    }

    package var identity: PluginIdentity { worker.identity }

    package func upperCount(_ context: SelectionContext) throws -> Int {
        let reply = try worker.ask(
            .upperCount, SelectionHeader(context, nil), SelectionHeader.blocks(context, nil))
        let count = try received(worker) { try reply.header(Count.self).count }
        guard count >= 0 else {
            throw PluginCallError.negativeUpperCount(plugin: name, path: path, count: Int64(count))
        }
        return count
    }

    package func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>
    ) throws {
        guard candidates.count > 0 else { return }
        let reply = try worker.ask(
            .select, SelectionHeader(context, candidates), SelectionHeader.blocks(context, candidates))
        defer { extendLifetime(reply) }
        let marks = try received(worker) { try reply.buffer(1, UInt8.self, count: candidates.count) }
        if let e = marks.firstIndex(where: { $0 > 1 }) {
            let (row, latent) = candidates.position(of: e)
            throw PluginCallError.badMark(plugin: name, path: path, value: marks[e], row: row, latent: latent)
        }
        _ = selected.update(fromContentsOf: marks)
    }
}

/// What a rule in a worker learns. The tensors are the host's and go there with each call.
private final class IsolatedRuleLearning: SparsityRuleLearning {
    let tensors: [LearnableTensor]
    private let worker: IsolatedPlugin

    init(_ worker: IsolatedPlugin, _ tensors: [LearnableTensor]) {
        self.worker = worker
        self.tensors = tensors
    }

    func floors(_ context: SelectionContext, into floors: UnsafeMutableBufferPointer<Float>) throws {
        let reply = try worker.ask(.floors, SelectionHeader(context, nil), SelectionHeader.blocks(context, nil))
        defer { extendLifetime(reply) }
        _ = floors.update(fromContentsOf: try finite(reply, 1, count: floors.count))
    }

    func backward(
        _ candidates: SparseCodes, selected: UnsafeBufferPointer<UInt8>, codeGradient: UnsafeBufferPointer<Float>,
        _ context: SelectionContext, preactivationGradient: UnsafeMutableBufferPointer<Float>,
        tensorGradients: [UnsafeMutableBufferPointer<Double>]
    ) throws -> Double {
        let reply = try worker.ask(
            .backward, SelectionHeader(context, candidates),
            SelectionHeader.blocks(
                context, candidates, more: [UnsafeRawBufferPointer(selected), UnsafeRawBufferPointer(codeGradient)]))
        defer { extendLifetime(reply) }
        _ = preactivationGradient.update(fromContentsOf: try finite(reply, 2, count: candidates.count))
        for (i, gradient) in tensorGradients.enumerated() {
            let values = try received(worker) { try reply.buffer(3 + i, Double.self, count: gradient.count) }
            for j in values.indices { gradient[j] += values[j] }
        }
        return try received(worker) { try reply.values(1, Double.self, count: 1)[0] }
    }

    func rescale(_ tensors: [Matrix], factor: Double) throws {
        var blocks = ArenaBlocks()
        for tensor in tensors { blocks.add(tensor, rows: 1) }
        let reply = try worker.ask(
            .rescale, Rescaling(factor: factor.bitPattern, latentCount: tensors.first?.count ?? 0), blocks)
        defer { extendLifetime(reply) }
        for (i, tensor) in tensors.enumerated() {
            tensor.elements.update(
                from: try finite(reply, 1 + i, count: tensor.count).baseAddress!, count: tensor.count)
        }
    }

    /// The worker has checked them, and a plugin that wrote where it should not may have changed them since.
    private func finite(_ reply: Arena, _ block: Int, count: Int) throws -> UnsafeBufferPointer<Float> {
        try received(worker) {
            let values = try reply.buffer(block, Float.self, count: count)
            guard values.allSatisfy(\.isFinite) else { throw Arena.Malformed(reason: "a number that is not finite") }
            return values
        }
    }
}

/// How an SAE of a rule in a worker is used without it. The state is the host's.
private final class IsolatedRuleInference: SparsityRuleInference {
    let stateVersion: Int
    private let worker: IsolatedPlugin

    init(_ worker: IsolatedPlugin, stateVersion: Int) {
        self.worker = worker
        self.stateVersion = stateVersion
    }

    func stateSize(latentCount: Int) throws -> Int {
        let reply = try worker.ask(.ruleStateSize, Count(count: latentCount))
        let size = try received(worker) { try reply.header(Count.self).count }
        return try ForeignSize.check(size, "a state", plugin: worker.name, path: worker.path)
    }

    func calibrate(
        _ candidates: SparseCodes, selected: UnsafeBufferPointer<UInt8>, _ context: SelectionContext,
        state: UnsafeMutableRawBufferPointer
    ) throws {
        let reply = try worker.ask(
            .calibrate, SelectionHeader(context, candidates),
            SelectionHeader.blocks(
                context, candidates, more: [UnsafeRawBufferPointer(selected), UnsafeRawBufferPointer(state)]))
        try update(state, reply)
    }

    func merge(latentCount: Int, state: UnsafeMutableRawBufferPointer, other: UnsafeRawBufferPointer) throws {
        var blocks = ArenaBlocks()
        blocks.add(state.baseAddress!, bytes: state.count, owner: worker)
        blocks.add(other.baseAddress!, bytes: other.count, owner: worker)
        try update(state, try worker.ask(.ruleMerge, Count(count: latentCount), blocks))
    }

    func form(_ context: SelectionContext, state: UnsafeRawBufferPointer) throws -> InferenceForm {
        let reply = try worker.ask(
            .form, SelectionHeader(context, nil), SelectionHeader.blocks(context, nil, more: [state]))
        return try received(worker) {
            if let k = try reply.header(FormReply.self).topK {
                guard (1...context.latentCount).contains(k) else { throw Arena.Malformed(reason: "top_k is \(k)") }
                return .rowTopK(k)
            }
            let thresholds = try reply.values(1, Float.self, count: context.latentCount)
            guard thresholds.allSatisfy(\.isFinite) else {
                throw Arena.Malformed(reason: "a threshold that is not finite")
            }
            return .thresholds(thresholds)
        }
    }

    private func update(_ state: UnsafeMutableRawBufferPointer, _ reply: Arena) throws {
        let bytes = try received(worker) { try reply.buffer(1, UInt8.self, count: state.count) }
        state.copyBytes(from: UnsafeRawBufferPointer(bytes))
        extendLifetime(reply)
    }
}
