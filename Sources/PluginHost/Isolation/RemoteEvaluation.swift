import Attribution
import LinearAlgebra

/// In a worker: asks the host, over the line, what a scorer asks about its batch.
final class RemoteEvaluation: SplicedEvaluation, @unchecked Sendable {
    let preferredGroups: Int
    private(set) var remainingGroups: Int?
    private let channel: WorkerChannel
    private let length: Int
    private let dimension: Int
    private let latentCount: Int

    init(_ header: BatchHeader, _ channel: WorkerChannel) {
        preferredGroups = header.preferredGroups ?? 1
        remainingGroups = header.remainingGroups
        length = header.sequenceCount == 0 ? 0 : header.codes.rows / header.sequenceCount
        dimension = header.dimension
        latentCount = header.codes.columns
        self.channel = channel
    }

    func lossChanges(_ groups: [EditGroup]) throws -> [Double] {
        var request = EvaluationRequest()
        var blocks = ArenaBlocks()
        for group in groups {
            let edits = group.edits.map { edit -> EvaluationRequest.Change in
                switch edit.change {
                case .scale(let latent, let factor):
                    return .init(tokens: edit.tokens, operation: 1, latent: latent, value: factor.bitPattern)
                case .set(let latent, let value):
                    return .init(tokens: edit.tokens, operation: 2, latent: latent, value: value.bitPattern)
                case .rows(let rows):
                    blocks.add(rows, bytes: 4 * edit.tokens.count * dimension, owner: self)
                    return .init(tokens: edit.tokens, operation: 3, latent: 0, value: 0)
                }
            }
            request.groups.append(
                .init(sequence: group.sequence, edits: edits, wantsLosses: group.losses != nil))
        }
        let answer = try ask(.lossChanges, request, blocks)
        var wanted = try answer.buffer(2, Float.self)[...]
        for group in groups {
            guard let losses = group.losses else { continue }
            guard wanted.count >= length else { throw WorkerChannel.Broken(reason: "too few losses") }
            _ = losses.update(fromContentsOf: wanted.prefix(length))
            wanted = wanted.dropFirst(length)
        }
        return try answer.values(1, Double.self, count: groups.count)
    }

    func gradients(at points: [GradientPoint]) throws -> [Double] {
        var request = EvaluationRequest()
        request.sequences = points.map(\.sequence)
        var blocks = ArenaBlocks()
        for point in points { blocks.add(point.rows, bytes: 4 * length * dimension, owner: self) }
        let answer = try ask(.gradientsAt, request, blocks)
        for (i, point) in points.enumerated() {
            let gradient = try answer.buffer(2 + i, Float.self, count: length * dimension)
            _ = UnsafeMutableBufferPointer(start: point.gradient, count: gradient.count).update(
                fromContentsOf: gradient)
        }
        return try answer.values(1, Double.self, count: points.count)
    }

    func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
        var request = EvaluationRequest()
        request.sequences = paths.map(\.sequence)
        var blocks = ArenaBlocks()
        blocks.add(alphas)
        blocks.add(weights)
        for path in paths {
            blocks.add(path.base, bytes: 4 * length * dimension, owner: self)
            blocks.add(path.end, bytes: 4 * length * dimension, owner: self)
        }
        let answer = try ask(.gradientsAlong, request, blocks)
        defer { extendLifetime(answer) }
        for (i, path) in paths.enumerated() {
            let gradient = try answer.buffer(1 + i, Double.self, count: length * dimension)
            _ = UnsafeMutableBufferPointer(start: path.gradient, count: gradient.count).update(fromContentsOf: gradient)
        }
    }

    func meanActivations() throws -> MeanActivations.Values {
        let answer = try ask(.meanActivations, EvaluationRequest(), ArenaBlocks())
        return MeanActivations.Values(
            means: try answer.values(1, Double.self, count: latentCount),
            scoredTokens: Int(try answer.values(2, Int64.self, count: 1)[0]))
    }

    private func ask(_ kind: WorkerChannel.Kind, _ request: EvaluationRequest, _ blocks: ArenaBlocks) throws -> Arena {
        var request = request
        request.length = length
        try channel.send(kind, request, blocks)
        let (kind, arena) = try channel.receive()
        guard kind == .answer else { throw WorkerChannel.Broken(reason: "\(kind) instead of an answer") }
        let answer = try arena.header(EvaluationAnswer.self)
        remainingGroups = answer.remaining
        switch answer.failure {
        case .badEdit(let reason): throw AttributionError.badEdit(reason)
        case .budgetExhausted(let asked, let remaining):
            throw AttributionError.budgetExhausted(asked: asked, remaining: remaining)
        case .other(let text): throw PluginError.reported(text)
        case nil: return arena
        }
    }
}

/// In the host: answers a worker's requests about the batch it was given.
struct EvaluationService {
    let batch: ScoringBatch

    /// Answers a message; false if it is no request.
    func answer(_ kind: WorkerChannel.Kind, _ arena: Arena, over channel: WorkerChannel) throws -> Bool {
        guard [.lossChanges, .gradientsAt, .gradientsAlong, .meanActivations].contains(kind) else { return false }
        var answer = EvaluationAnswer()
        var blocks = ArenaBlocks()
        do {
            guard let evaluation = batch.evaluation else {
                throw PluginError.reported("nobody answers evaluations here")
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
            default: blocks = try paths(evaluation, request, arena, T)
            }
            answer.remaining = evaluation.remainingGroups
        } catch AttributionError.badEdit(let reason) {
            answer.failure = .badEdit(reason)
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
                switch edit.operation {
                case 1: return Edit(tokens: edit.tokens, change: .scale(latent: edit.latent, factor: value))
                case 2: return Edit(tokens: edit.tokens, change: .set(latent: edit.latent, value: value))
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
        let changes = try evaluation.lossChanges(groups)
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
        let sums = try evaluation.gradients(at: points)
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
            along: paths, alphas: try arena.values(1, Double.self), weights: try arena.values(2, Double.self))
        var blocks = ArenaBlocks()
        for i in request.sequences.indices { blocks.add(Array(memory[i * T * d..<(i + 1) * T * d])) }
        return blocks
    }
}
