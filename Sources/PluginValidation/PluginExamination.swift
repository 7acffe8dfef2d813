import Attribution
import Glibc
import LinearAlgebra
import PluginABI
import PluginHost
import PluginWorkers
import SparseCoding

/// A plugin in a worker that also tells what the plugin does to it; for a validator.
final class PluginExamination {
    /// The plugin, if it is a scorer.
    let scorer: (any AttributionScorer & LoadedPlugin)?
    /// The plugin, if it is a sparsity rule.
    let rule: (any SparsityRule & LoadedPlugin)?
    private let worker: IsolatedPlugin

    init(_ worker: IsolatedPlugin, isRule: Bool) throws {
        self.worker = worker
        scorer = isRule ? nil : IsolatedScorer(worker)
        rule = isRule ? try IsolatedSparsityRule(worker) : nil
    }

    /// What the calls so far left behind.
    /// - Throws: `WorkerError.crashed`.
    func traces() throws -> ProcessTraces {
        try ask(.traces, reply: ProcessTraces.self)
    }

    /// Has the process end as a program does, and says what the plugin made of that; nil if it just ended.
    /// - Throws: `WorkerChannel.Broken` if it is gone.
    func ending() throws -> String? {
        // A program that has nothing left to do ends in milliseconds.
        let seconds = Int32(min(10, worker.isolation.timeout.rounded(.up)))
        return switch try worker.ends(on: ExaminationRequest.leave, milliseconds: seconds * 1000) {
        case .exited(0): nil
        case .exited(let status): "the program's exit status is \(status) and not 0"
        case .killed(let signal): "the program is ended by signal \(signal) (\(String(cString: strsignal(signal))))"
        case nil: "the program is still there \(seconds) s later"
        }
    }

    /// The first result that one of `count` calls gives otherwise than `expected`, by more than `most`; nil if none.
    /// - Throws: as `score`.
    func difference(
        repeating batch: ScoringBatch, _ plan: ScoringPlan, count: Int, _ expected: [Double], most: Double
    ) throws -> RepeatedDifference? {
        var blocks = BatchHeader.blocks(batch)
        blocks.add(expected)
        let request = ExaminationRequest.repeatedScores(
            BatchHeader(batch, plan: plan), count: count, most: most.bitPattern)
        return try ask(request, blocks, answering: EvaluationService(batch: batch), reply: RepeatReply.self).difference
    }

    /// As above, of selections.
    /// - Throws: as `select`.
    func difference(
        repeating candidates: SparseCodes, _ context: SelectionContext, count: Int, _ expected: [Double]
    ) throws -> RepeatedDifference? {
        let request = ExaminationRequest.repeatedSelections(SelectionHeader(context, candidates), count: count)
        return try expected.withUnsafeBytes {
            let blocks = SelectionHeader.blocks(context, candidates, more: [$0])
            return try ask(request, blocks, reply: RepeatReply.self).difference
        }
    }

    /// The first sequence of `batch` that many threads at once score otherwise than one thread; nil if none.
    /// - Throws: as `score`.
    func difference(scoring batch: ScoringBatch, _ plan: ScoringPlan) throws -> Int? {
        let request = ExaminationRequest.scoresTogether(BatchHeader(batch, plan: plan))
        return try ask(request, BatchHeader.blocks(batch), reply: Difference.self).number
    }

    /// The first of several turns of `candidates` from which many threads at once select otherwise than
    /// one; nil if none.
    /// - Throws: as `select`.
    func difference(selecting candidates: SparseCodes, _ context: SelectionContext) throws -> Int? {
        let request = ExaminationRequest.selectionsTogether(SelectionHeader(context, candidates))
        return try ask(request, SelectionHeader.blocks(context, candidates), reply: Difference.self).number
    }

    private func ask<Reply: Decodable>(
        _ request: ExaminationRequest, _ blocks: ArenaBlocks = ArenaBlocks(), answering: EvaluationService? = nil,
        reply: Reply.Type
    ) throws -> Reply {
        let arena = try worker.ask(.extended, request, blocks, called: request.name, answering: answering)
        return try received(worker) { try arena.header(Reply.self) }
    }
}

extension PluginUnderTest {
    /// The plugin in a fresh worker that is watched from before its file is loaded.
    /// - Throws: the error of the plugin; a `WorkerError`.
    func examination() throws -> PluginExamination {
        try PluginExamination(worker(parameters, isWatched: true, services), isRule: isRule)
    }

    /// Tries `attempt` on the functions of the plugin itself, in a fresh worker; what it did wrong, nil for nothing.
    /// - Throws: the error of the plugin; a `WorkerError`.
    func problem(_ attempt: DirectAttempt) throws -> String? {
        let file = try PluginFile(path: path)
        do {
            let worker = try WorkerProcess(file, isolation, services)
            let create = CreateRequest(
                path: path, id: plugin.id, isRule: isRule, parameters: parameters, memory: isolation.memory)
            let request = ExaminationRequest.directly(DirectRequest(attempt: attempt, create: create))
            return try worker.ask(.extended, request, reply: DirectReply.self).problem
        } catch let failure as WorkerFailure {
            throw WorkerError.crashed(
                plugin: plugin.id, path: path, function: attempt.rawValue, how: failure.how,
                lastWords: failure.lastWords, bundle: nil)
        }
    }

    /// Whether the file holds a plain function, told by a file beside what is no plugin.
    static func isPlainFunction(_ path: String) -> Bool {
        do { return try PluginFile(path: path).function != nil } catch { return false }
    }
}
