import Glibc
import Kernels
import LinearAlgebra

// Metrics of answers other than the loss. They are asked for now and then, so logits are whole, a few rows at a time.
extension LanguageHead {
    /// Rows whose logits are there at once: 16 MiB of them, so that words are not widened anew for every few rows.
    private var metricRows: Int { max(16, (1 << 22) / max(1, weight.rows)) }

    /// KL(p° ‖ p) `[n]` of residual rows `x` `[n, d]`, p° being what follows from `reference` `[n, d]`. Where `dx` `[n, d]` is given,
    /// it receives the gradient of Σ v_t KL_t, with the rows' `weights` v.
    func divergences(
        _ x: UnsafePointer<Float>, from reference: UnsafePointer<Float>, weights: [Float],
        into values: UnsafeMutablePointer<Float>, gradient dx: UnsafeMutablePointer<Float>?, _ rule: BackwardRule,
        _ scratch: Scratch
    ) {
        let (n, d, V) = (weights.count, weight.columns, weight.rows)
        let own = Matrix(rows: min(n, metricRows), columns: V), other = Matrix(rows: own.rows, columns: V)
        let dnormed = Matrix(rows: own.rows, columns: d)
        for first in stride(from: 0, to: n, by: max(1, own.rows)) {
            let count = min(own.rows, n - first)
            logits(x + first * d, rows: count, into: own.elements, scratch)
            logits(reference + first * d, rows: count, into: other.elements, scratch)
            for r in 0..<count {
                let v = weights[first + r]
                values[first + r] = divergence(
                    own.row(r), from: other.row(r), V, softCap: softCap, weight: dx == nil ? nil : v)
            }
            guard let dx else { continue }
            // forward:  l = W·y    ⇒    dy = dl·W
            weight.applyTransposed(
                to: MatrixView(own.elements, rows: count, columns: V),
                into: MutableMatrixView(dnormed.elements, rows: count, columns: d), panel: scratch.panels.elements,
                on: scratch.lanes)
            let rows = dx + first * d
            rows.update(repeating: 0, count: count * d)
            norm.addBackward(
                x + first * d, dnormed.elements, rows: count, to: rows,
                isConstant: rule.contains(.constantNorms), on: scratch.lanes)
        }
    }

    /// Logit a − logit b `[n]` of residual rows `x` `[n, d]`, and the gradient of Σ v_t (a − b)_t, as in `divergences`.
    func logitDifferences(
        _ x: UnsafePointer<Float>, _ a: Int32, _ b: Int32, weights: [Float], into values: UnsafeMutablePointer<Float>,
        gradient dx: UnsafeMutablePointer<Float>?, _ rule: BackwardRule, _ scratch: Scratch
    ) {
        let (n, d) = (weights.count, weight.columns)
        let words = Matrix(rows: 2, columns: d)
        for (i, id) in [a, b].enumerated() { weight.widen(Int(id)..<Int(id) + 1, into: words.row(i)) }
        let normed = Matrix(rows: n, columns: d), dnormed = Matrix(rows: n, columns: d)
        norm.forward(x, rows: n, into: normed.elements, on: scratch.lanes)
        for r in 0..<n {
            var slopes: [Float] = [1, -1]
            var difference = 0.0
            for i in 0..<2 {
                var logit = kernels.dot(normed.row(r), words.row(i), d)
                if let softCap {
                    let ratio = tanh(Double(logit) / Double(softCap))
                    logit = Float(Double(softCap) * ratio)
                    slopes[i] *= Float(1 - ratio * ratio)
                }
                difference += i == 0 ? Double(logit) : -Double(logit)
            }
            values[r] = Float(difference)
            kernels.combine(
                dnormed.row(r), weights[r] * slopes[0], words.row(0), weights[r] * slopes[1], words.row(1), d)
        }
        guard let dx else { return }
        dx.update(repeating: 0, count: n * d)
        norm.addBackward(
            x, dnormed.elements, rows: n, to: dx, isConstant: rule.contains(.constantNorms), on: scratch.lanes)
    }

    /// σ `[n]` of residual rows `x`: what the norm divides them by.
    func scales(_ x: UnsafePointer<Float>, rows n: Int, into scales: UnsafeMutablePointer<Float>) {
        let d = weight.columns
        for r in 0..<n { scales[r] = Float(norm.denominator(x + r * d)) }
    }

    /// W_v ∘ w `[d]` of a token, less their mean where the norm takes it off: what a direction is multiplied by on its way to the logit.
    func row(_ id: Int, into row: UnsafeMutablePointer<Float>) {
        let d = weight.columns
        weight.widen(id..<id + 1, into: row)
        for i in 0..<d { row[i] *= norm.weight[i] }
        guard norm.kind == .layer else { return }
        let mean = (0..<d).reduce(0.0) { $0 + Double(row[$1]) } / Double(d)
        for i in 0..<d { row[i] = Float(Double(row[i]) - mean) }
    }
}
