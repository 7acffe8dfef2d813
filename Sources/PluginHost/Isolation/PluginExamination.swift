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

    /// Has the process end as a program does, and says what the plugin made of that; nil if it just ended.
    /// - Throws: `WorkerChannel.Broken` if it is gone.
    public func ending() throws -> String? {
        // A program that has nothing left to do ends in milliseconds.
        let seconds = Int32(min(10, worker.isolation.timeout.rounded(.up)))
        return switch try worker.leave(milliseconds: seconds * 1000) {
        case .exited(0): nil
        case .exited(let status): "the program's exit status is \(status) and not 0"
        case .killed(let signal): "the program is ended by signal \(signal) (\(String(cString: strsignal(signal))))"
        case nil: "the program is still there \(seconds) s later"
        }
    }

    /// The first result that one of `count` calls gives otherwise than `expected`, by more than `most`; nil if none.
    /// - Throws: as `score`.
    public func difference(
        repeating batch: ScoringBatch, _ plan: ScoringPlan, count: Int, _ expected: [Double], most: Double
    ) throws -> RepeatedDifference? {
        var blocks = BatchHeader.blocks(batch)
        blocks.add(expected)
        let request = RepeatRequest(batch: BatchHeader(batch, plan: plan), count: count, most: most.bitPattern)
        let reply = try worker.ask(.repeated, request, blocks, answering: EvaluationService(batch: batch))
        return try received(worker) { try reply.header(RepeatReply.self).difference }
    }

    /// As above, of selections.
    /// - Throws: as `select`.
    public func difference(
        repeating candidates: SparseCodes, _ context: SelectionContext, count: Int, _ expected: [Double]
    ) throws -> RepeatedDifference? {
        let request = RepeatRequest(selection: SelectionHeader(context, candidates), count: count, most: 0)
        let reply = try expected.withUnsafeBytes {
            try worker.ask(.repeated, request, SelectionHeader.blocks(context, candidates, more: [$0]))
        }
        return try received(worker) { try reply.header(RepeatReply.self).difference }
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

/// A result of one of many calls that is another than the first call's.
public struct RepeatedDifference: Sendable {
    /// Which call, from 1 on, and which of its results.
    public let call: Int, result: Int
    /// What the first call gave, and what this one did.
    public let first: Double, found: Double
}

/// The same call, made many times.
private struct RepeatRequest: Codable {
    var batch: BatchHeader?
    var selection: SelectionHeader?
    var count: Int
    /// How far a result may be off, as its bits, which JSON keeps.
    var most: UInt64
}

private struct RepeatReply: Codable {
    var call = 0, result = 0
    /// As their bits; nil if no result was another.
    var values: [UInt64]?

    var difference: RepeatedDifference? {
        values.map {
            RepeatedDifference(
                call: call, result: result, first: Double(bitPattern: $0[0]), found: Double(bitPattern: $0[1]))
        }
    }
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
        case .repeated: try channel.send(.done, repeated(try arena.header(RepeatRequest.self), arena))
        default:
            try channel.send(.done, Difference(number: scorer == nil ? try selecting(arena) : try scoring(arena)))
        }
    }

    private func scoring(_ arena: Arena) throws -> Int? {
        let header = try arena.header(BatchHeader.self)
        guard let plan = header.plan else { throw WorkerChannel.Broken(reason: "no plan") }
        let batch = try batch(header, arena)
        let sequences = (0..<header.sequenceCount).map { batch.sequence($0) }
        return try ConcurrentCalls.difference(count: sequences.count, call: bytes(of: sequences, plan))
    }

    /// What a call on each of some batches gives: its scores, or the state that it leaves.
    private func bytes(of batches: [ScoringBatch], _ plan: ScoringPlan) throws -> @Sendable (Int) throws -> [UInt8] {
        guard let scorer else { throw WorkerChannel.Broken(reason: "no scorer") }
        if scorer.scoresTokens {
            return { s in
                let scores = UnsafeMutableBufferPointer<Float>.allocate(capacity: batches[s].codes.count)
                defer { scores.deallocate() }
                scores.initialize(repeating: 0)
                try scorer.score(batches[s], into: scores)
                return Array(UnsafeRawBufferPointer(scores))
            }
        }
        let accumulation = try accumulation(), size = try accumulation.stateSize(plan)
        return { s in
            let state = UnsafeMutableRawBufferPointer.allocate(byteCount: max(64, size), alignment: 64)
            defer { state.deallocate() }
            state.initializeMemory(as: UInt8.self, repeating: 0)
            try accumulation.begin(plan, state: state)
            try accumulation.accumulate(batches[s], plan, state: state)
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
            try rule.marks(turns[i], context)
        }
    }

    /// Makes a call again and again, and compares its results with those of the first, which are the last block of a batch
    /// and come after the candidates of a selection.
    private func repeated(_ request: RepeatRequest, _ arena: Arena) throws -> RepeatReply {
        let call: () throws -> [Double]
        let block: Int
        if let header = request.batch, let plan = header.plan {
            block = 1 + BatchHeader.blockCount
            let batch = try batch(header, arena), bytes = try bytes(of: [batch], plan)
            if let scorer, scorer.scoresTokens {
                call = { try bytes(0).withUnsafeBytes { $0.bindMemory(to: Float.self).map(Double.init) } }
            } else {
                let accumulation = try accumulation()
                call = {
                    let state = try bytes(0)
                    return try state.withUnsafeBytes { try accumulation.results(plan, $0) }
                }
            }
        } else if let header = request.selection, let candidates = try header.codes?.codes(arena, from: 1) {
            block = 4
            let rule = try sparsityRule(), context = try header.context(arena)
            call = { try rule.marks(candidates, context).map(Double.init) }
        } else {
            throw WorkerChannel.Broken(reason: "nothing to repeat")
        }
        let expected = try arena.values(block, Double.self)
        let most = Double(bitPattern: request.most)
        for number in 0..<request.count {
            let found = try call()
            guard
                let e = expected.indices.first(where: {
                    let (a, b) = (expected[$0], found[$0])
                    return !(a.isNaN && b.isNaN) && !(abs(a - b) <= most)
                })
            else { continue }
            return RepeatReply(call: number, result: e, values: [expected[e].bitPattern, found[e].bitPattern])
        }
        return RepeatReply()
    }
}

extension AccumulatingScore {
    /// Every number of every output, from a state that is lent as it lies.
    fileprivate func results(_ plan: ScoringPlan, _ state: UnsafeRawBufferPointer) throws -> [Double] {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: state.count, alignment: 64)
        defer { copy.deallocate() }
        copy.copyMemory(from: state)
        let results = outputs.map { UnsafeMutableBufferPointer<Double>.allocate(capacity: $0.count(plan)) }
        defer { for result in results { result.deallocate() } }
        for result in results { result.initialize(repeating: 0) }
        try finish(plan, state: UnsafeRawBufferPointer(copy), into: results)
        return results.flatMap(Array.init)
    }
}

extension PluginSparsityRule {
    fileprivate func marks(_ candidates: SparseCodes, _ context: SelectionContext) throws -> [UInt8] {
        let marks = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: candidates.count)
        defer { marks.deallocate() }
        marks.initialize(repeating: 0)
        try select(from: candidates, context, selected: marks)
        return Array(marks)
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
