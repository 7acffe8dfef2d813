import LanguageModeling
import LinearAlgebra

// Gradients: whole sequences, a few at a time.
extension SpliceEvaluator {
    /// Sequences that gradients are computed for at once; enough for the products, little memory.
    private static let gradientSequences = 8

    /// Runs sequences of the batch with residuals [n·T, d] to what is summed [n·T] and the gradient [n·T, d] of the sums.
    typealias Run = (_ sequences: [Int], _ residual: Matrix) throws -> (values: [Float], gradient: Matrix)

    /// The next-token loss and its derivative.
    private func losses(_ sequences: [Int], _ residual: Matrix) throws -> (values: [Float], gradient: Matrix) {
        let (losses, gradient) = try replay.model.lossesAndGradient(
            of: tokens.sequences(sequences), residual: residual, at: replay.hook)
        return (losses, gradient)
    }

    public func gradients(at points: [GradientPoint]) throws -> [Double] { try gradients(at: points, losses) }

    public func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
        try gradients(along: paths, alphas: alphas, weights: weights, losses)
    }

    func gradients(at points: [GradientPoint], _ model: Run) throws -> [Double] {
        for point in points { try batch.check(sequence: point.sequence, "point") }
        try budget.spend(points.count)
        var losses: [Double] = []
        var start = 0
        while start < points.count {
            let some = points[start..<min(start + Self.gradientSequences, points.count)]
            let (loss, gradient) = try run(some.map { ($0.sequence, $0.rows) }, model)
            for (i, point) in some.enumerated() {
                losses.append(loss[i])
                point.gradient.update(from: gradient.row(i * length), count: length * dimension)
            }
            start += some.count
        }
        return losses
    }

    func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double], _ model: Run) throws {
        precondition(alphas.count == weights.count, "\(alphas.count) alphas, \(weights.count) weights")
        for path in paths { try batch.check(sequence: path.sequence, "path") }
        guard (alphas + weights).allSatisfy(\.isFinite) else {
            throw AttributionError.badEdit("a step of a path is not finite")
        }
        try budget.spend(paths.count * alphas.count)
        let count = length * dimension
        for path in paths { path.gradient.update(repeating: 0, count: count) }
        // Steps in order within a path: the sum has the same bits whoever else is asked about.
        let steps = paths.indices.flatMap { path in alphas.indices.map { (path, $0) } }
        let rows = Matrix(rows: Self.gradientSequences * length, columns: dimension)
        var start = 0
        while start < steps.count {
            let some = steps[start..<min(start + Self.gradientSequences, steps.count)]
            for (i, (path, step)) in some.enumerated() {
                let (base, end, r) = (paths[path].base, paths[path].end, rows.row(i * length))
                for c in 0..<count {
                    r[c] = Float(Double(base[c]) + alphas[step] * (Double(end[c]) - Double(base[c])))
                }
            }
            let (_, gradient) = try run(
                some.enumerated().map { (paths[$1.0].sequence, UnsafePointer(rows.row($0 * length))) }, model)
            for (i, (path, step)) in some.enumerated() {
                let (sum, g) = (paths[path].gradient, gradient.row(i * length))
                for c in 0..<count { sum[c] += weights[step] * Double(g[c]) }
            }
            start += some.count
        }
        extendLifetime(rows)
    }

    /// Σ losses and gradients [n·T, d] of sequences whose scored rows are replaced; rows that are not scored are 0.
    private func run(_ spliced: [(sequence: Int, rows: UnsafePointer<Float>)], _ model: Run) throws -> (
        [Double], Matrix
    ) {
        let (T, d) = (length, dimension)
        let residual = Matrix(rows: spliced.count * T, columns: d)
        for (i, (sequence, rows)) in spliced.enumerated() {
            let from = sequence * T
            for t in 0..<T {
                let source =
                    batch.scored[from + t] != 0 ? rows + t * d : UnsafePointer(batch.reconstruction.row(from + t))
                residual.row(i * T + t).update(from: source, count: d)
            }
        }
        let (losses, gradient) = try model(spliced.map(\.sequence), residual)
        budget.gradientTokens += spliced.count * T
        for (i, (sequence, _)) in spliced.enumerated() {
            for t in 0..<T where batch.scored[sequence * T + t] == 0 {
                gradient.row(i * T + t).update(repeating: 0, count: d)
            }
        }
        let sums = spliced.indices.map { i in losses[i * T..<(i + 1) * T].reduce(0.0) { $0 + Double($1) } }
        return (sums, gradient)
    }
}
