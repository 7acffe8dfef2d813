import LanguageModeling
import LinearAlgebra
import TensorFiles

// What the model's answers are measured by, and gradients of that under a rule. A reading is the one thing here that is not linear, and
// counts as a perceptron's; there are no norms and no attention whose rules would change anything.
extension SyntheticModel {
    public func values(of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric) throws
        -> [Float]
    {
        try run(batch, residual, hook, metric, weights: nil, .plain).values
    }

    public func lossesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint
    ) throws -> (losses: [Float], gradient: Matrix) {
        let (losses, gradient) = try valuesAndGradient(
            of: batch, residual: residual, at: hook, metric: .loss, weights: nil, rule: .plain)
        return (losses, gradient)
    }

    public func valuesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric, weights: [Float]?,
        rule: BackwardRule
    ) throws -> (values: [Float], gradient: Matrix) {
        let weights = weights ?? [Float](repeating: 1, count: batch.tokenCount)
        let found = try run(batch, residual, hook, metric, weights: weights, rule)
        return (found.values, found.gradient!)
    }

    /// Not there: readings are beyond thresholds, so that no row is what a direction adds to a logit.
    public func finalScales(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float] {
        throw LanguageModelError.noHead
    }

    /// Not there either.
    public func headRows(_ ids: [Int32]) throws -> Matrix { throw LanguageModelError.noHead }

    /// m `[B·T]`, and with weights v the gradient of Σ v_t m_t.
    private func run(
        _ batch: TokenBatch, _ residual: Matrix, _ hook: HookPoint, _ metric: TokenMetric, weights: [Float]?,
        _ rule: BackwardRule
    ) throws -> (values: [Float], gradient: Matrix?) {
        try check(batch, hook, residual)
        try check(metric, at: hook.block)
        // Padding answers nothing.
        let weights = weights.map { $0.enumerated().map { batch.isPadding($0) ? 0 : $1 } }
        var values: [Float]
        let gradient: Matrix?
        if case .direction(let direction, _) = metric {
            (values, gradient) = along(direction, residual, weights)
        } else {
            let readings = readings(of: residual)
            let slopes: Matrix
            (values, slopes) = try measure(metric, readings, batch, hook, weights)
            gradient = weights.map { _ in self.gradient(slopes, readings, rule) }
        }
        for position in values.indices where batch.isPadding(position) { values[position] = 0 }
        return (values, gradient)
    }

    /// ⟨u, x⟩ of each row, and v·u.
    private func along(_ u: [Float], _ x: Matrix, _ weights: [Float]?) -> ([Float], Matrix?) {
        let d = u.count
        let values = (0..<x.rows).map { r in
            Float((0..<d).reduce(0.0) { $0 + Double(x[r, $1]) * Double(u[$1]) })
        }
        return (values, weights.map { v in Matrix(rows: x.rows, columns: d, v.flatMap { v in u.map { v * $0 } }) })
    }

    /// Values of rows whose readings are known, and the gradient `[n, V]` of their sum with the weights by the logits, if there are any.
    private func measure(
        _ metric: TokenMetric, _ readings: Matrix, _ batch: TokenBatch, _ hook: HookPoint, _ weights: [Float]?
    ) throws -> ([Float], Matrix) {
        let V = configuration.vocabularySize
        switch metric {
        case .loss:
            // forward:  loss = log Σ e^l − l_target    ⇒    dl = p − 1 at the target
            let targets = batch.targets
            let (losses, slopes) = losses(reading: readings, targets: targets)
            guard let weights else { return (losses, slopes) }
            for (r, target) in targets.enumerated() where target >= 0 {
                slopes[r, Int(target)] -= 1
                if weights[r] != 1 { for v in 0..<V { slopes[r, v] *= weights[r] } }
            }
            return (losses, slopes)
        case .divergence(let own):
            try check(batch, hook, own)
            var need = MemoryNeed(
                "divergences of \(batch.tokenCount) tokens of the synthetic world need",
                advice: "lower --sequences or --context")
            need.add("logits", 8, batch.tokenCount, V)
            try need.check()
            let (slopes, others) = (logits(reading: readings), logits(reading: self.readings(of: own)))
            var values = [Float](repeating: 0, count: batch.tokenCount)
            values.withUnsafeMutableBufferPointer { values in
                guard let start = values.baseAddress else { return }
                let target = SendablePointer(start)
                Lanes.shared.forRanges(slopes.rows) { _, rows in
                    for r in rows {
                        target.pointer[r] = divergence(
                            slopes.row(r), from: others.row(r), V, weight: weights.map { $0[r] })
                    }
                }
            }
            return (values, slopes)
        case .logitDifference(let a, let b):
            let slopes = logits(reading: readings)
            let values = (0..<slopes.rows).map { slopes[$0, Int(a)] - slopes[$0, Int(b)] }
            for r in 0..<slopes.rows {
                slopes.row(r).update(repeating: 0, count: V)
                guard let weights else { continue }
                slopes[r, Int(a)] += weights[r]
                slopes[r, Int(b)] -= weights[r]
            }
            return (values, slopes)
        case .direction: preconditionFailure("a direction has no logits")
        }
    }

    /// The gradient `[n, d]` of x from that of the logits.
    private func gradient(_ dlogits: Matrix, _ readings: Matrix, _ rule: BackwardRule) -> Matrix {
        // forward:  z = R (x − b), a = max(0, z − τ)/(1 − τ), l = P a    ⇒    da = dl·P,  dx = (da where a > 0)/(1 − τ)·R; where a is
        // z times a constant, dx = (da·a/z)·R
        let threshold = world.settings.threshold, slopes = Matrix(rows: dlogits.rows, columns: readings.columns)
        Lanes.shared.multiply(dlogits.view, world.promotions.view, into: slopes.mutableView)
        for i in 0..<slopes.count {
            guard readings[i] != 0 else {
                slopes[i] = 0
                continue
            }
            guard rule.contains(.linearPerceptrons) else { continue }
            let a = Double(readings[i])
            // z ≥ τ, and what follows is over 1 − τ.
            slopes[i] *= Float(a * (1 - threshold) / (a * (1 - threshold) + threshold))
        }
        let gradient = Matrix(rows: dlogits.rows, columns: configuration.dModel)
        Lanes.shared.multiply(
            slopes.view, world.readers.view, into: gradient.mutableView, scale: Float(1 / (1 - threshold)))
        return gradient
    }
}
