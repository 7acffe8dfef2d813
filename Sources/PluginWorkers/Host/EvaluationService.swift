import Attribution
import CDMSAE
import LinearAlgebra

/// In the host: answers a worker's requests about the batch it was given.
package struct EvaluationService {
    let batch: ScoringBatch

    /// Answers about this batch.
    package init(batch: ScoringBatch) { self.batch = batch }

    /// Answers a message; false if it is no request.
    func answer(_ kind: WorkerChannel.Kind, _ arena: Arena, over channel: WorkerChannel) throws -> Bool {
        let questions: [WorkerChannel.Kind] = [
            .lossChanges, .gradientsAt, .gradientsAlong, .meanActivations, .headRows, .finalScales,
        ]
        guard questions.contains(kind) else { return false }
        var answer = EvaluationAnswer()
        var blocks = ArenaBlocks()
        do {
            guard let evaluation = batch.evaluation else {
                throw WorkerError.noEvaluation
            }
            let request = try arena.header(EvaluationRequest.self)
            let T = batch.sequenceOffsets.count > 1 ? batch.codes.rows / (batch.sequenceOffsets.count - 1) : 0
            guard request.length == T else { throw WorkerChannel.Broken(reason: "sequences of \(request.length)") }
            switch kind {
            case .lossChanges: blocks = try losses(evaluation, request, arena, T)
            case .gradientsAt: blocks = try points(evaluation, request, arena, T)
            case .meanActivations:
                let values = try evaluation.meanActivations()
                blocks.add(values.means)
                blocks.add([Int64(values.scoredTokens)])
            case .headRows:
                let rows = try evaluation.headRows(request.tokens)
                blocks.add(rows, rows: rows.rows)
            case .finalScales: blocks.add(try evaluation.finalScales())
            default: blocks = try paths(evaluation, request, arena, T)
            }
            answer.remaining = evaluation.remainingGroups
        } catch AttributionError.badEdit(let reason) {
            answer.failure = .badEdit(reason)
        } catch AttributionError.metricUnsupported(let reason) {
            answer.failure = .unsupported(reason)
        } catch AttributionError.budgetExhausted(let asked, let remaining) {
            answer.failure = .budgetExhausted(asked: asked, remaining: remaining)
        } catch let broken as WorkerChannel.Broken {
            throw broken
        } catch let malformed as Arena.Malformed {
            throw WorkerChannel.Broken(reason: malformed.reason)
        } catch {
            answer.failure = .other("\(error)")
        }
        answer.remaining = batch.evaluation?.remainingGroups
        try channel.send(.answer, answer, blocks)
        return true
    }

    private func losses(
        _ evaluation: any SplicedEvaluation, _ request: EvaluationRequest, _ arena: Arena, _ T: Int
    ) throws -> ArenaBlocks {
        let d = batch.decoder.columns
        var block = 0
        let wanted = request.groups.count { $0.wantsLosses }
        let memory = UnsafeMutableBufferPointer<Float>.allocate(capacity: wanted * T)
        memory.initialize(repeating: 0)
        defer { memory.deallocate() }
        var at = 0
        let groups = try request.groups.map { group -> EditGroup in
            let edits = try group.edits.map { edit -> Edit in
                let value = Float(bitPattern: edit.value)
                guard edit.tokens.lowerBound >= 0, edit.tokens.upperBound <= batch.codes.rows else {
                    throw WorkerChannel.Broken(reason: "an edit of tokens \(edit.tokens)")
                }
                switch dmsae_edit_operation(rawValue: edit.operation) {
                case .DMSAE_EDIT_SCALE:
                    return Edit(tokens: edit.tokens, change: .scale(latent: edit.latent, factor: value))
                case .DMSAE_EDIT_SET: return Edit(tokens: edit.tokens, change: .set(latent: edit.latent, value: value))
                default:
                    block += 1
                    let rows = try arena.buffer(block, Float.self, count: edit.tokens.count * d)
                    return Edit(
                        tokens: edit.tokens, change: .rows(rows.baseAddress ?? UnsafePointer(bitPattern: 64)!))
                }
            }
            guard group.wantsLosses else { return EditGroup(sequence: group.sequence, edits: edits) }
            defer { at += T }
            return EditGroup(
                sequence: group.sequence, edits: edits,
                losses: UnsafeMutableBufferPointer(rebasing: memory[at..<at + T]))
        }
        let changes = try evaluation.changes(
            groups, of: request.metric(arena, tokens: batch.codes.rows, dimension: d))
        var blocks = ArenaBlocks()
        blocks.add(changes)
        blocks.add(Array(memory))
        return blocks
    }

    private func points(
        _ evaluation: any SplicedEvaluation, _ request: EvaluationRequest, _ arena: Arena, _ T: Int
    ) throws -> ArenaBlocks {
        let d = batch.decoder.columns
        let gradients = request.sequences.map { _ in Matrix(rows: T, columns: d) }
        let points = try request.sequences.enumerated().map { i, sequence in
            GradientPoint(
                sequence: sequence, rows: try arena.buffer(1 + i, Float.self, count: T * d).baseAddress!,
                gradient: gradients[i].elements)
        }
        let sums = try evaluation.gradients(
            at: points, of: request.metric(arena, tokens: batch.codes.rows, dimension: d), rule: request.rule)
        var blocks = ArenaBlocks()
        blocks.add(sums)
        for gradient in gradients { blocks.add(gradient, rows: T) }
        return blocks
    }

    private func paths(
        _ evaluation: any SplicedEvaluation, _ request: EvaluationRequest, _ arena: Arena, _ T: Int
    ) throws -> ArenaBlocks {
        let d = batch.decoder.columns
        let memory = UnsafeMutableBufferPointer<Double>.allocate(capacity: request.sequences.count * T * d)
        memory.initialize(repeating: 0)
        defer { memory.deallocate() }
        let paths = try request.sequences.enumerated().map { i, sequence in
            GradientPath(
                sequence: sequence, base: try arena.buffer(3 + 2 * i, Float.self, count: T * d).baseAddress!,
                end: try arena.buffer(4 + 2 * i, Float.self, count: T * d).baseAddress!,
                gradient: memory.baseAddress! + i * T * d)
        }
        try evaluation.gradients(
            along: paths, alphas: try arena.values(1, Double.self), weights: try arena.values(2, Double.self),
            of: request.metric(arena, tokens: batch.codes.rows, dimension: d), rule: request.rule)
        var blocks = ArenaBlocks()
        for i in request.sequences.indices { blocks.add(Array(memory[i * T * d..<(i + 1) * T * d])) }
        return blocks
    }
}
