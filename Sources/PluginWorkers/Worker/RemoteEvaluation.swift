import Attribution
import CDMSAE
import LanguageModeling
import LinearAlgebra

/// In a worker: asks the host, over the line, what a scorer asks about its batch.
final class RemoteEvaluation: SplicedEvaluation, @unchecked Sendable {
    let preferredGroups: Int
    private(set) var remainingGroups: Int?
    private let channel: WorkerChannel
    private let length: Int
    private let dimension: Int
    private let latentCount: Int
    private let tokenCount: Int

    init(_ header: BatchHeader, _ channel: WorkerChannel) {
        preferredGroups = header.preferredGroups ?? 1
        remainingGroups = header.remainingGroups
        length = header.sequenceCount == 0 ? 0 : header.codes.rows / header.sequenceCount
        dimension = header.dimension
        latentCount = header.codes.columns
        tokenCount = header.codes.rows
        self.channel = channel
    }

    func lossChanges(_ groups: [EditGroup]) throws -> [Double] { try changes(groups, of: .loss) }

    func changes(_ groups: [EditGroup], of metric: EvaluationMetric) throws -> [Double] {
        var request = EvaluationRequest()
        var blocks = ArenaBlocks()
        for group in groups {
            let edits = group.edits.map { edit -> EvaluationRequest.Change in
                switch edit.change {
                case .scale(let latent, let factor):
                    return .init(
                        tokens: edit.tokens, operation: dmsae_edit_operation.DMSAE_EDIT_SCALE.rawValue, latent: latent,
                        value: factor.bitPattern)
                case .set(let latent, let value):
                    return .init(
                        tokens: edit.tokens, operation: dmsae_edit_operation.DMSAE_EDIT_SET.rawValue, latent: latent,
                        value: value.bitPattern)
                case .rows(let rows):
                    blocks.add(rows, bytes: 4 * edit.tokens.count * dimension, owner: self)
                    return .init(
                        tokens: edit.tokens, operation: dmsae_edit_operation.DMSAE_EDIT_ROWS.rawValue, latent: 0,
                        value: 0)
                }
            }
            request.groups.append(
                .init(sequence: group.sequence, edits: edits, wantsLosses: group.losses != nil))
        }
        request.add(metric, to: &blocks)
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
        try gradients(at: points, of: .loss, rule: .plain)
    }

    func gradients(at points: [GradientPoint], of metric: EvaluationMetric, rule: BackwardRule) throws -> [Double] {
        var request = EvaluationRequest()
        request.rule = rule
        request.sequences = points.map(\.sequence)
        var blocks = ArenaBlocks()
        for point in points { blocks.add(point.rows, bytes: 4 * length * dimension, owner: self) }
        request.add(metric, to: &blocks)
        let answer = try ask(.gradientsAt, request, blocks)
        for (i, point) in points.enumerated() {
            let gradient = try answer.buffer(2 + i, Float.self, count: length * dimension)
            _ = UnsafeMutableBufferPointer(start: point.gradient, count: gradient.count).update(
                fromContentsOf: gradient)
        }
        return try answer.values(1, Double.self, count: points.count)
    }

    func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
        try gradients(along: paths, alphas: alphas, weights: weights, of: .loss, rule: .plain)
    }

    func gradients(
        along paths: [GradientPath], alphas: [Double], weights: [Double], of metric: EvaluationMetric,
        rule: BackwardRule
    ) throws {
        var request = EvaluationRequest()
        request.rule = rule
        request.sequences = paths.map(\.sequence)
        var blocks = ArenaBlocks()
        blocks.add(alphas)
        blocks.add(weights)
        for path in paths {
            blocks.add(path.base, bytes: 4 * length * dimension, owner: self)
            blocks.add(path.end, bytes: 4 * length * dimension, owner: self)
        }
        request.add(metric, to: &blocks)
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

    func headRows(_ tokens: [Int32]) throws -> Matrix {
        var request = EvaluationRequest()
        request.tokens = tokens
        let answer = try ask(.headRows, request, ArenaBlocks())
        let rows = Matrix(rows: tokens.count, columns: dimension)
        let found = try answer.buffer(1, Float.self, count: rows.count)
        _ = UnsafeMutableBufferPointer(start: rows.elements, count: rows.count).update(fromContentsOf: found)
        extendLifetime(answer)
        return rows
    }

    func finalScales() throws -> [Float] {
        try ask(.finalScales, EvaluationRequest(), ArenaBlocks()).values(1, Float.self, count: tokenCount)
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
        case .unsupported(let reason): throw AttributionError.metricUnsupported(reason)
        case .other(let text): throw HostRefusal(description: text)
        case nil: return arena
        }
    }
}

/// Why the host could not answer, in its words; the plugin gets them as the text of its request.
private struct HostRefusal: Error, CustomStringConvertible {
    let description: String
}
