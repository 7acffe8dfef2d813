import Attribution
import Glibc
import LinearAlgebra
import PluginHost
import PluginWorkers
import SparseCoding

/// A validator's part of a worker: it sees what a plugin does to its process, and makes calls there that no host makes.
package final class PluginExaminer: WorkerExtension {
    private var watch: ProcessWatch?

    /// One for the worker that this process is.
    package init() {}

    /// Looks at the process as it is.
    package func fileWillLoad() throws { watch = try ProcessWatch() }

    /// From here on the plugin is in it.
    package func fileIsLoaded() { watch?.libraryIsLoaded() }

    /// Answers an `ExaminationRequest`.
    package func answer(_ arena: Arena, in worker: PluginWorker) throws {
        switch try arena.header(ExaminationRequest.self) {
        case .traces:
            guard let watch else { throw WorkerChannel.Broken(reason: "it is not watched") }
            try worker.channel.send(.done, watch.traces())
        case .directly(let request):
            worker.limitMemory(to: request.create.memory)
            try worker.channel.send(.done, DirectReply(problem: try request.problem(of: worker.pluginFile())))
        case .scoresTogether(let header):
            try worker.channel.send(.done, Difference(number: try worker.scoresTogether(header, arena)))
        case .selectionsTogether(let header):
            try worker.channel.send(.done, Difference(number: try worker.selectionsTogether(header, arena)))
        case .repeatedScores(let header, let count, let most):
            let call = try worker.scores(header, arena)
            let expected = try arena.values(1 + BatchHeader.blockCount, Double.self)
            try worker.channel.send(.done, RepeatReply(count, expected, most: Double(bitPattern: most), call))
        case .repeatedSelections(let header, let count):
            let call = try worker.selection(header, arena),
                expected = try arena.values(SelectionHeader.afterCandidates, Double.self)
            try worker.channel.send(.done, RepeatReply(count, expected, most: 0, call))
        case .leave:
            worker.release()
            exit(0)
        }
    }
}

extension PluginWorker {
    fileprivate func scoresTogether(_ header: BatchHeader, _ arena: Arena) throws -> Int? {
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
            var whole = plan
            whole.passCount = try accumulation.passCount(plan)
            try accumulation.begin(whole, state: state)
            try accumulation.forEachPass(plan) { try accumulation.accumulate(batches[s], $0, state: state) }
            return Array(state)
        }
    }

    fileprivate func selectionsTogether(_ header: SelectionHeader, _ arena: Arena) throws -> Int? {
        let rule = try sparsityRule()
        guard let candidates = try header.codes?.codes(arena, from: SelectionHeader.candidates) else {
            throw WorkerChannel.Broken(reason: "no candidates")
        }
        let context = try header.context(arena), turns = (0..<4).map { candidates.turned(by: 7 * $0) }
        return try ConcurrentCalls.difference(count: turns.count) { i in
            try rule.marks(turns[i], context)
        }
    }

    /// A call on a batch, and all that it gives: scores, or the outputs of a pass of it.
    fileprivate func scores(_ header: BatchHeader, _ arena: Arena) throws -> () throws -> [Double] {
        guard let scorer, let plan = header.plan else { throw WorkerChannel.Broken(reason: "nothing to repeat") }
        let bytes = try bytes(of: [batch(header, arena)], plan)
        if scorer.scoresTokens {
            return { try bytes(0).withUnsafeBytes { $0.bindMemory(to: Float.self).map(Double.init) } }
        }
        let accumulation = try accumulation()
        return {
            let state = try bytes(0)
            return try state.withUnsafeBytes { try accumulation.results(plan, $0) }
        }
    }

    /// A selection, and its marks.
    fileprivate func selection(_ header: SelectionHeader, _ arena: Arena) throws -> () throws -> [Double] {
        let rule = try sparsityRule(), context = try header.context(arena)
        guard let candidates = try header.codes?.codes(arena, from: SelectionHeader.candidates) else {
            throw WorkerChannel.Broken(reason: "no candidates")
        }
        return { try rule.marks(candidates, context).map(Double.init) }
    }
}

extension RepeatReply {
    /// Makes a call so often, up to the first time that a result is off by more than `most`.
    fileprivate init(_ count: Int, _ expected: [Double], most: Double, _ call: () throws -> [Double]) throws {
        for number in 0..<count {
            let found = try call()
            guard
                let e = expected.indices.first(where: {
                    let (a, b) = (expected[$0], found[$0])
                    return !(a.isNaN && b.isNaN) && !(abs(a - b) <= most)
                })
            else { continue }
            self.init(call: number, result: e, values: [expected[e].bitPattern, found[e].bitPattern])
            return
        }
        self.init()
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
        var plan = plan
        plan.passCount = try passCount(plan)
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
