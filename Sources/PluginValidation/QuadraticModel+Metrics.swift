import Attribution
import Glibc
import LanguageModeling
import LinearAlgebra

// Other metrics than the loss, in closed form too. The model has no blocks and no norm, so that its stream is x̂, σ is 1, the
// logit of token v is x̂'s number v mod d, and every backward rule is the derivative.
extension QuadraticModel {
    /// Refuses tokens that no vocabulary has.
    func check(_ metric: EvaluationMetric) throws {
        if case .logitDifference(let a, let b) = metric.kind, min(a, b) < 0 {
            throw AttributionError.badEdit("there is no token \(min(a, b))")
        }
    }

    /// v_t.
    func weight(_ metric: EvaluationMetric, _ t: Int) -> Double { metric.weights.map { Double($0[t]) } ?? 1 }

    /// m_t where x̂_t is a row.
    func value(_ kind: EvaluationMetric.Kind, _ t: Int, _ row: UnsafePointer<Float>) -> Double {
        switch kind {
        case .loss: return loss(t, row)
        case .logitDifference(let a, let b): return Double(row[Int(a) % d]) - Double(row[Int(b) % d])
        case .direction(let direction, _): return (0..<d).reduce(0) { $0 + Double(direction[$1]) * Double(row[$1]) }
        case .divergence:
            let (own, spliced) = (probabilities(batch.residual.row(t)), probabilities(row))
            return (0..<d).reduce(0) { $0 + own[$1] * log(own[$1] / spliced[$1]) }
        }
    }

    /// ∂m_t/∂x̂_t.
    private func gradient(_ kind: EvaluationMetric.Kind, _ t: Int, _ row: UnsafePointer<Float>) -> [Double] {
        switch kind {
        case .loss: return (0..<d).map { Double(row[$0] - target[t, $0]) }
        case .logitDifference(let a, let b):
            return (0..<d).map { ($0 == Int(a) % d ? 1 : 0) - ($0 == Int(b) % d ? 1 : 0) }
        case .direction(let direction, _): return direction.map(Double.init)
        case .divergence:
            let (own, spliced) = (probabilities(batch.residual.row(t)), probabilities(row))
            return (0..<d).map { spliced[$0] - own[$0] }
        }
    }

    private func probabilities(_ row: UnsafePointer<Float>) -> [Double] {
        let powers = (0..<d).map { exp(Double(row[$0])) }, sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }

    func gradients(at points: [GradientPoint], of metric: EvaluationMetric, rule: BackwardRule) throws -> [Double] {
        for point in points { try batch.check(sequence: point.sequence, "point") }
        try check(metric)
        try spend(points.count)
        return points.map { point in
            var sum = 0.0
            for k in 0..<length {
                let t = point.sequence * length + k, row = point.rows + k * d, weight = weight(metric, t)
                sum += weight * value(metric.kind, t, row)
                let own = gradient(metric.kind, t, row)
                for i in 0..<d { point.gradient[k * d + i] = batch.scored[t] == 0 ? 0 : Float(weight * own[i]) }
            }
            return sum
        }
    }

    func gradients(
        along paths: [GradientPath], alphas: [Double], weights: [Double], of metric: EvaluationMetric,
        rule: BackwardRule
    ) throws {
        for path in paths { try batch.check(sequence: path.sequence, "path") }
        try check(metric)
        try spend(paths.count * alphas.count)
        let row = Matrix(rows: 1, columns: d)
        for path in paths {
            path.gradient.update(repeating: 0, count: length * d)
            for k in 0..<length where batch.scored[path.sequence * length + k] != 0 {
                let t = path.sequence * length + k
                for (alpha, weight) in zip(alphas, weights) {
                    for i in 0..<d {
                        let (base, end) = (Double(path.base[k * d + i]), Double(path.end[k * d + i]))
                        row[i] = Float(base + alpha * (end - base))
                    }
                    let own = gradient(metric.kind, t, row.elements)
                    for i in 0..<d { path.gradient[k * d + i] += weight * self.weight(metric, t) * own[i] }
                }
            }
        }
    }

    func headRows(_ tokens: [Int32]) throws -> Matrix {
        let rows = Matrix(rows: tokens.count, columns: d)
        for (r, token) in tokens.enumerated() {
            guard token >= -1 else { throw AttributionError.badEdit("there is no token \(token)") }
            if token == -1 { for i in 0..<d { rows[r, i] = 1 / Float(d) } } else { rows[r, Int(token) % d] = 1 }
        }
        return rows
    }

    func finalScales() throws -> [Float] { [Float](repeating: 1, count: batch.codes.rows) }
}
