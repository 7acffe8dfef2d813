import LanguageModeling
import LinearAlgebra

// Other metrics than the loss, and other rules than the derivative: whole sequences, a few at a time.
extension SpliceEvaluator {
    /// The metric as the model has it for some sequences of the batch.
    private func metric(_ kind: EvaluationMetric.Kind, _ sequences: [Int]) -> TokenMetric {
        switch kind {
        case .loss: return .loss
        case .divergence:
            let own = Matrix(rows: sequences.count * length, columns: dimension)
            for (i, s) in sequences.enumerated() {
                own.row(i * length).update(from: batch.residual.row(s * length), count: length * dimension)
            }
            return .divergence(from: own)
        case .logitDifference(let a, let b): return .logitDifference(a, b)
        case .direction(let direction, let layer): return .direction(direction, layer: layer)
        }
    }

    private func weights(_ metric: EvaluationMetric, _ sequences: [Int]) -> [Float]? {
        metric.weights.map { all in sequences.flatMap { all[$0 * length..<($0 + 1) * length] } }
    }

    /// m [n·T] of sequences whose residuals are [n·T, d].
    private func values(_ kind: EvaluationMetric.Kind, _ sequences: [Int], _ residual: Matrix) throws -> [Float] {
        try judging {
            try replay.model.values(
                of: tokens.sequences(sequences), residual: residual, at: replay.hook, metric: metric(kind, sequences))
        }
    }

    public func changes(_ groups: [EditGroup], of metric: EvaluationMetric) throws -> [Double] {
        if metric.isLoss { return try lossChanges(groups) }
        try batch.check(groups)
        try budget.spend(groups.count)
        // What the metric is of the batch itself, of each sequence once.
        var before: [Int: [Float]] = [:]
        for sequence in Set(groups.map(\.sequence)).sorted() {
            let rows = batch.reconstruction.copy(rows: sequence * length..<(sequence + 1) * length)
            before[sequence] = try values(metric.kind, [sequence], rows)
        }
        var sums = [Double](repeating: 0, count: groups.count)
        for start in stride(from: 0, to: groups.count, by: Self.metricSequences) {
            let some = start..<min(start + Self.metricSequences, groups.count)
            let rows = Matrix(rows: some.count * length, columns: dimension)
            for i in some {
                let edited = edited(groups[i], from: groups[i].sequence * length)
                rows.row((i - start) * length).update(from: edited.elements, count: length * dimension)
            }
            let after = try values(metric.kind, some.map { groups[$0].sequence }, rows)
            budget.replayedTokens += rows.rows
            for i in some {
                let group = groups[i], base = before[group.sequence] ?? []
                let first = firstChange(group.edits).map { $0 - group.sequence * length } ?? length
                for t in 0..<length {
                    let value = t < first ? base[t] : after[(i - start) * length + t]
                    group.losses?[t] = value
                    let weight = metric.weights.map { Double($0[group.sequence * length + t]) } ?? 1
                    sums[i] += weight * (Double(value) - Double(base[t]))
                }
            }
        }
        return sums
    }

    private static let metricSequences = 8

    public func gradients(at points: [GradientPoint], of metric: EvaluationMetric, rule: BackwardRule) throws
        -> [Double]
    {
        try gradients(at: points) { sequences, residual in try self.run(metric, rule, sequences, residual) }
    }

    public func gradients(
        along paths: [GradientPath], alphas: [Double], weights: [Double], of metric: EvaluationMetric,
        rule: BackwardRule
    ) throws {
        try gradients(along: paths, alphas: alphas, weights: weights) { sequences, residual in
            try self.run(metric, rule, sequences, residual)
        }
    }

    /// v·m [n·T] and the gradient [n·T, d] of its sums.
    private func run(
        _ metric: EvaluationMetric, _ rule: BackwardRule, _ sequences: [Int], _ residual: Matrix
    ) throws -> (values: [Float], gradient: Matrix) {
        let weights = weights(metric, sequences)
        var (values, gradient) = try judging {
            try replay.model.valuesAndGradient(
                of: tokens.sequences(sequences), residual: residual, at: replay.hook,
                metric: self.metric(metric.kind, sequences), weights: weights, rule: rule)
        }
        if let weights { for i in values.indices { values[i] *= weights[i] } }
        return (values, gradient)
    }

    public func headRows(_ tokens: [Int32]) throws -> Matrix { try judging { try replay.model.headRows(tokens) } }

    public func finalScales() throws -> [Float] { try judging { try replay.finalScales() } }

    /// A wish that the model does not fulfil is the asker's to correct.
    private func judging<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let error as LanguageModelError {
            switch error {
            case .metricToken, .metricLayer: throw AttributionError.badEdit("\(error)")
            case .noHead: throw AttributionError.metricUnsupported("\(error)")
            default: throw error
            }
        }
    }
}
