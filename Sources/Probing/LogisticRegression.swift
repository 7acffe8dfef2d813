import Glibc

/// min over w and b of Σ s log(1 + e^(−y z)) + ‖w‖² / 2C, z = X w + b, y = ±1: scikit-learn's `LogisticRegression` with an L2 penalty, solved
/// to the end and not until some number of iterations. s is what a row counts, 1 unless it is said.
///
/// Newton's method with halved steps. After each, b is the best for its w, so that Σ g = 0 and −g/λ is a point of the dual problem; the gap
/// to it is ‖∂/∂w‖² / 2λ (Fenchel and Young have it as equality in every loss), and ends the search.
package struct LogisticRegression: Sendable {
    package let weights: [Double]
    package let intercept: Double
    /// What the objective can at most be above its least, as a share of it.
    package let gap: Double

    /// z `[n]` of rows.
    package func scores(_ rows: FeatureRows) -> [Double] { rows.product(weights).map { $0 + intercept } }

    /// Where a search stops: values of z are right to about the root of it.
    private static let tolerance = 1e-8
    private static let mostSteps = 200
    /// Tried one after the other where a step finds no way down: factors of matrices are off by as much, times the number of their rows.
    private static let dampings = [0, 1e-15, 1e-14, 1e-13, 1e-12]

    /// What is learnt: the class of each row, and what the row counts.
    private struct Outcomes {
        let labels: [Bool]
        let counts: [Double]
    }

    /// A point of the search.
    private struct Point {
        var v: [Double]
        var b: Double
        /// M v.
        var scores: [Double]
    }

    /// Solutions for each C, rising, each search begun where the last ended. `labels` has both classes; `counts`, above 0, are what rows count.
    ///
    /// Returns nil in the place of those that rounding keeps from converging.
    package static func path(_ X: FeatureRows, _ labels: [Bool], counts: [Double]? = nil, C: [Double])
        -> [LogisticRegression?]
    {
        // Fewer rows than features: rows are the smaller problem.
        2 * X.columnCount > X.rowCount
            ? path(RowForm(X), labels, counts: counts, C: C) : path(FeatureForm(X), labels, counts: counts, C: C)
    }

    /// The same, in this form.
    package static func path(_ form: some LogisticForm, _ labels: [Bool], counts: [Double]? = nil, C: [Double])
        -> [LogisticRegression?]
    {
        let outcomes = Outcomes(labels: labels, counts: counts ?? [Double](repeating: 1, count: labels.count))
        var point = Point(
            v: [Double](repeating: 0, count: form.parameterCount), b: 0,
            scores: [Double](repeating: 0, count: labels.count))
        return C.map { solve(form, outcomes, lambda: 1 / $0, from: &point) }
    }

    private static func solve(_ form: some LogisticForm, _ outcomes: Outcomes, lambda: Double, from point: inout Point)
        -> LogisticRegression?
    {
        for _ in 0..<mostSteps {
            point.b = intercept(point.scores, outcomes, near: point.b)
            let (loss, g, D) = derivatives(point.scores, point.b, outcomes)
            let value = loss + lambda / 2 * form.inner(point.v, point.v, scores: point.scores)
            let gap = form.squaredGradient(g, point.v, lambda: lambda) / (2 * lambda) / value
            if gap <= tolerance {
                let intercept = point.b + form.offset(point.v)
                return LogisticRegression(weights: form.weights(point.v), intercept: intercept, gap: gap)
            }
            guard value.isFinite else { return nil }
            let hasMoved = dampings.contains { damping in
                guard let step = form.step(g, D, point.v, lambda: lambda, damping: damping) else { return false }
                return advance(&point, by: step, form, outcomes, lambda: lambda, value: value, g)
            }
            guard hasMoved else { return nil }
        }
        return nil
    }

    /// Takes the step, or the half of it, or a quarter …, as long as the objective falls as its slope promises.
    private static func advance(
        _ point: inout Point, by step: (v: [Double], b: Double), _ form: some LogisticForm,
        _ outcomes: Outcomes, lambda: Double, value: Double, _ g: [Double]
    ) -> Bool {
        let scores = form.scores(step.v)
        let cross = form.inner(point.v, step.v, scores: scores), square = form.inner(step.v, step.v, scores: scores)
        let norm = form.inner(point.v, point.v, scores: point.scores)
        let slope = g.indices.reduce(0.0) { $0 + g[$1] * (scores[$1] + step.b) } + lambda * cross
        var length = 1.0
        while length > 1e-10 {
            let tried = zip(point.scores, scores).map { $0 + length * $1 }
            let loss = derivatives(tried, point.b + length * step.b, outcomes).loss
            let penalty = lambda / 2 * (norm + 2 * length * cross + length * length * square)
            // Beyond rounding: near the end both sides are the same number.
            if loss + penalty <= value + 1e-4 * length * slope + 1e-14 * value {
                point.v = zip(point.v, step.v).map { $0 + length * $1 }
                point.b += length * step.b
                point.scores = tried
                return true
            }
            length /= 2
        }
        return false
    }

    /// Σ losses, their derivatives p − [y = 1] and p (1 − p), each times what its row counts.
    private static func derivatives(_ scores: [Double], _ b: Double, _ outcomes: Outcomes) -> (
        loss: Double, g: [Double], D: [Double]
    ) {
        let (labels, counts) = (outcomes.labels, outcomes.counts)
        var (loss, g, D) = (0.0, scores, scores)
        for i in scores.indices {
            // m = −y z.
            let m = labels[i] ? -(scores[i] + b) : scores[i] + b
            let e = exp(-abs(m))
            loss += counts[i] * (max(m, 0) + log1p(e))
            // How likely the other class is.
            let wrong = counts[i] * (m > 0 ? 1 / (1 + e) : e / (1 + e))
            g[i] = labels[i] ? -wrong : wrong
            D[i] = counts[i] * e / ((1 + e) * (1 + e))
        }
        return (loss, g, D)
    }

    /// The b with Σ g = 0, by Newton's method held within bounds that close in.
    private static func intercept(_ scores: [Double], _ outcomes: Outcomes, near start: Double) -> Double {
        guard let least = scores.min(), let most = scores.max() else { return start }
        var (low, high) = (-most - 50, -least + 50)
        var b = min(max(start, low), high)
        for _ in 0..<100 {
            let (_, g, D) = derivatives(scores, b, outcomes)
            let excess = g.reduce(0, +)
            if excess > 0 { high = b } else { low = b }
            let slope = D.reduce(0, +)
            let next = slope > 0 ? b - excess / slope : .nan
            let bounded = next > low && next < high ? next : (low + high) / 2
            if abs(bounded - b) <= 1e-15 * max(1, abs(b)) { return bounded }
            b = bounded
        }
        return b
    }
}
