import Attribution
import CDMSAE
import LanguageModeling
import LinearAlgebra
import PluginABI

// `dmsae.eval/2`, `dmsae.grad/2` and `dmsae.head/1`: other metrics than the loss, other rules than the derivative.
extension EvaluationTurn {
    /// Reads a metric with suspicion: what its kind names is there and finite.
    func metric(_ pointer: UnsafePointer<dmsae_metric>) throws -> EvaluationMetric {
        let size = pointer.pointee.struct_size
        guard size >= DMSAE_METRIC_SIZE_V3 else { throw Refusal.invalid("the metric has \(size) bytes") }
        let c = pointer.pointee
        let tokens = Int(sequenceOffsets.last ?? 0)
        let kind: EvaluationMetric.Kind
        switch c.kind {
        case .DMSAE_METRIC_LOSS: kind = .loss
        case .DMSAE_METRIC_DIVERGENCE: kind = .divergence
        case .DMSAE_METRIC_LOGIT_DIFFERENCE: kind = .logitDifference(c.token_a, c.token_b)
        case .DMSAE_METRIC_DIRECTION:
            guard let direction = c.direction else { throw Refusal.invalid("the metric has no direction") }
            kind = .direction(
                try finite(direction, count: dimension, "the metric's direction"), layer: Int(c.layer))
        default: throw Refusal.invalid("the metric is of kind \(c.kind.rawValue)")
        }
        let weights = try c.weights.map { try finite($0, count: tokens, "the metric's weights") }
        return EvaluationMetric(kind, weights: weights)
    }

    private func finite(_ pointer: UnsafePointer<Float>, count: Int, _ what: String) throws -> [Float] {
        let values = Array(UnsafeBufferPointer(start: pointer, count: count))
        if let i = values.firstIndex(where: { !$0.isFinite }) { throw Refusal.invalid("\(what)[\(i)] is \(values[i])") }
        return values
    }

    func rule(_ c: dmsae_backward_rule) throws -> BackwardRule {
        switch c {
        case .DMSAE_BACKWARD_PLAIN: return .plain
        case .DMSAE_BACKWARD_RELP: return .relp
        case .DMSAE_BACKWARD_RELP_PATTERN: return [.relp, .constantAttention]
        case .DMSAE_BACKWARD_ATTENTION_ONLY: return .constantAttention
        default: throw Refusal.invalid("there is no backward rule \(c.rawValue)")
        }
    }

    func headRows(_ tokens: UnsafePointer<Int32>, _ count: Int64, into rows: UnsafeMutablePointer<Float>) throws {
        let count = try self.count(count, "count")
        if isCancelled() { throw Refusal(status: .DMSAE_CANCELLED, text: "") }
        let found = try evaluation.headRows(Array(UnsafeBufferPointer(start: tokens, count: count)))
        guard found.rows == count, found.columns == dimension else {
            throw Refusal(status: .DMSAE_ERR_FAILED, text: "rows of another shape")
        }
        rows.update(from: found.elements, count: found.count)
        extendLifetime(found)
    }

    func finalScales(into scales: UnsafeMutablePointer<Float>) throws {
        if isCancelled() { throw Refusal(status: .DMSAE_CANCELLED, text: "") }
        let found = try evaluation.finalScales()
        guard found.count == Int(sequenceOffsets.last ?? 0) else {
            throw Refusal(status: .DMSAE_ERR_FAILED, text: "scales of another batch")
        }
        scales.update(from: found, count: found.count)
    }
}

extension HostTables {
    nonisolated(unsafe) static let metrics = allocated(
        dmsae_host_eval_2(
            struct_size: UInt32(MemoryLayout<dmsae_host_eval_2>.size), reserved: 0,
            values: { host, batch, metric, groups, groupCount, edits, editCount, call in
                HostTables.answer(host, batch, DMSAE_EVAL_2, call) {
                    try $0.losses(groups, groupCount, edits, editCount, of: $0.metric(metric))
                }
            }))

    nonisolated(unsafe) static let metricGradients = allocated(
        dmsae_host_grad_2(
            struct_size: UInt32(MemoryLayout<dmsae_host_grad_2>.size), reserved: 0,
            at: { host, batch, metric, rule, points, pointCount, call in
                HostTables.answer(host, batch, DMSAE_GRAD_2, call) {
                    try $0.gradients(points, pointCount, of: $0.metric(metric), $0.rule(rule))
                }
            },
            along: { host, batch, metric, rule, paths, pathCount, alphas, weights, stepCount, call in
                HostTables.answer(host, batch, DMSAE_GRAD_2, call) {
                    try $0.gradients(paths, pathCount, alphas, weights, stepCount, of: $0.metric(metric), $0.rule(rule))
                }
            }))

    nonisolated(unsafe) static let head = allocated(
        dmsae_host_head(
            struct_size: UInt32(MemoryLayout<dmsae_host_head>.size), reserved: 0,
            rows: { host, batch, tokens, count, rows, call in
                HostTables.answer(host, batch, DMSAE_HEAD, call) { try $0.headRows(tokens, count, into: rows) }
            },
            scales: { host, batch, scales, call in
                HostTables.answer(host, batch, DMSAE_HEAD, call) { try $0.finalScales(into: scales) }
            }))
}
