import Attribution
import Glibc
import LinearAlgebra
import SparseCoding

/// A plugin in a worker that also tells what the plugin does to it; for a validator.
public final class PluginExamination {
    /// The plugin, if it is a scorer.
    public let scorer: (any AttributionScorer & LoadedPlugin)?
    /// The plugin, if it is a sparsity rule.
    public let rule: (any SparsityRule & LoadedPlugin)?
    private let worker: IsolatedPlugin

    init(_ worker: IsolatedPlugin, isRule: Bool) throws {
        self.worker = worker
        scorer = isRule ? nil : IsolatedScorer(worker)
        rule = isRule ? try IsolatedSparsityRule(worker) : nil
    }

    /// What the calls so far left behind.
    /// - Throws: `PluginError.crashed`.
    public func traces() throws -> ProcessTraces {
        let reply = try worker.ask(.traces, Empty())
        return try received(worker) { try reply.header(ProcessTraces.self) }
    }

    /// The first sequence of `batch` that many threads at once score otherwise than one thread; nil if none.
    /// - Throws: as `score`.
    public func difference(scoring batch: ScoringBatch, _ plan: ScoringPlan) throws -> Int? {
        let reply = try worker.ask(.together, BatchHeader(batch, plan: plan), BatchHeader.blocks(batch))
        return try received(worker) { try reply.header(Difference.self).number }
    }

    /// The first of several turns of `candidates` from which many threads at once select otherwise than one; nil if none.
    /// - Throws: as `select`.
    public func difference(selecting candidates: SparseCodes, _ context: SelectionContext) throws -> Int? {
        let reply = try worker.ask(
            .together, SelectionHeader(context, candidates), SelectionHeader.blocks(context, candidates))
        return try received(worker) { try reply.header(Difference.self).number }
    }
}

extension PluginUnderTest {
    /// The plugin in a fresh worker that is watched from before its file is loaded.
    /// - Throws: a `PluginError`.
    public func examination() throws -> PluginExamination {
        try PluginExamination(worker(parameters, isWatched: true, services), isRule: isRule)
    }

    /// Tries `attempt` on the functions of the plugin itself, in a fresh worker; what it did wrong, nil for nothing.
    /// - Throws: a `PluginError`.
    public func problem(_ attempt: DirectAttempt) throws -> String? {
        let file = try PluginFile(path: path)
        do {
            let worker = try WorkerProcess(file, isolation, services)
            let create = CreateRequest(
                path: path, id: plugin.id, isRule: isRule, parameters: parameters.map { [$0.key, $0.value] },
                memory: isolation.memory)
            let request = DirectRequest(attempt: attempt, create: create)
            return try worker.ask(.directly, request, reply: DirectReply.self).problem
        } catch let failure as WorkerFailure {
            throw PluginError.crashed(
                plugin: plugin.id, path: path, function: attempt.rawValue, how: failure.how,
                lastWords: failure.lastWords, bundle: nil)
        }
    }

    /// Whether the file holds a plain function, told by a TOML file beside what is no plugin.
    public static func isPlainFunction(_ path: String) -> Bool {
        do { return try PluginFile(path: path).kernel != nil } catch { return false }
    }
}

/// Where calls differed.
private struct Difference: Codable {
    var number: Int?
}

extension PluginWorker {
    /// Answers what only a validator asks.
    func examine(_ kind: WorkerChannel.Kind, _ arena: Arena) throws {
        switch kind {
        case .traces:
            guard let watch else { throw WorkerChannel.Broken(reason: "it is not watched") }
            try channel.send(.done, watch.traces())
        case .directly:
            let request = try arena.header(DirectRequest.self)
            limitMemory(to: request.create.memory)
            try channel.send(.done, DirectReply(problem: try request.problem(of: pluginFile())))
        default:
            try channel.send(.done, Difference(number: scorer == nil ? try selecting(arena) : try scoring(arena)))
        }
    }

    private func scoring(_ arena: Arena) throws -> Int? {
        let header = try arena.header(BatchHeader.self)
        guard let scorer, let plan = header.plan else { throw WorkerChannel.Broken(reason: "no scorer") }
        let batch = try batch(header, arena)
        let sequences = (0..<header.sequenceCount).map { batch.sequence($0) }
        if scorer.scoresTokens {
            return try ConcurrentCalls.difference(count: sequences.count) { s in
                let scores = UnsafeMutableBufferPointer<Float>.allocate(capacity: sequences[s].codes.count)
                defer { scores.deallocate() }
                scores.initialize(repeating: 0)
                try scorer.score(sequences[s], into: scores)
                return Array(UnsafeRawBufferPointer(scores))
            }
        }
        let accumulation = try accumulation(), size = try accumulation.stateSize(plan)
        return try ConcurrentCalls.difference(count: sequences.count) { s in
            let state = UnsafeMutableRawBufferPointer.allocate(byteCount: max(64, size), alignment: 64)
            defer { state.deallocate() }
            state.initializeMemory(as: UInt8.self, repeating: 0)
            try accumulation.begin(plan, state: state)
            try accumulation.accumulate(sequences[s], plan, state: state)
            return Array(state)
        }
    }

    private func selecting(_ arena: Arena) throws -> Int? {
        let header = try arena.header(SelectionHeader.self), rule = try sparsityRule()
        guard let candidates = try header.codes?.codes(arena, from: 1) else {
            throw WorkerChannel.Broken(reason: "no candidates")
        }
        let context = try header.context(arena), turns = (0..<4).map { candidates.turned(by: 7 * $0) }
        return try ConcurrentCalls.difference(count: turns.count) { i in
            let marks = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: candidates.count)
            defer { marks.deallocate() }
            marks.initialize(repeating: 0)
            try rule.select(from: turns[i], context, selected: marks)
            return Array(marks)
        }
    }
}

extension SparseCodes {
    /// The same places with the values moved on by `shift`, around the end.
    fileprivate func turned(by shift: Int) -> SparseCodes {
        let result = SparseCodes(rows: rows, columns: columns, capacity: count)
        result.rowOffsets.update(from: rowOffsets, count: rows + 1)
        result.columnIndices.update(from: columnIndices, count: count)
        for e in 0..<count { result.values[e] = values[(e + shift) % count] }
        return result
    }
}
