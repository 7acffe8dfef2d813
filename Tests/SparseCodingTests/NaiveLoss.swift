import LinearAlgebra
import TestSupport

import SparseCoding

/// The training loss in Double as the method states it, with what a step holds constant held constant: the selected
/// entries, the auxiliary entries, the residual that they reconstruct and its variance.
struct NaiveLoss {
    var encoder: [Double]
    var encoderBias: [Double]
    var decoder: [Double]
    var decoderBias: [Double]
    let x: Matrix
    let prefixes: [Int]
    let weights: [Double]
    let auxiliaryWeight: Double
    /// [B][entries]: latents that fired, core and selected.
    let active: [[Int]]
    /// [B][entries]: dead latents of the auxiliary loss.
    let revived: [[Int]]
    /// r = x − x̂_n at the parameters of the step, [B·D]; nil without dead latents.
    private var residual: [Double]?
    private var denominator = 1.0

    private var d: Int { x.columns }

    init(_ sae: SparseAutoencoder, x: Matrix, plan: TrainingPlan, active: SparseCodes, revived: SparseCodes) {
        encoder = sae.encoder.values.map(Double.init)
        encoderBias = sae.encoderBias.values.map(Double.init)
        decoder = sae.decoder.values.map(Double.init)
        decoderBias = sae.decoderBias.values.map(Double.init)
        self.x = x
        prefixes = sae.layout.prefixes
        weights = plan.groupWeights
        auxiliaryWeight = plan.auxiliaryWeight
        func lists(_ codes: SparseCodes) -> [[Int]] {
            (0..<x.rows).map { row in
                row < codes.rows ? codes.entries(ofRow: row).map { Int(codes.columnIndices[$0]) } : []
            }
        }
        self.active = lists(active)
        self.revived = lists(revived)
        if self.revived.contains(where: { !$0.isEmpty }) { holdResidual() }
    }

    /// p of one latent at one row; entries are held, so no ReLU: they were positive.
    private func preactivation(_ b: Int, _ j: Int) -> Double {
        (0..<d).reduce(encoderBias[j]) {
            $0 + (Double(x[b, $1]) - decoderBias[$1]) * encoder[j * d + $1]
        }
    }

    /// Σ_j p_j W_dec,j over the given latents, added to `start`.
    private func decode(_ b: Int, _ latents: [Int], from start: [Double]) -> [Double] {
        var result = start
        for j in latents {
            let p = preactivation(b, j)
            for c in 0..<d { result[c] += p * decoder[j * d + c] }
        }
        return result
    }

    private mutating func holdResidual() {
        var r = [Double](repeating: 0, count: x.count)
        for b in 0..<x.rows {
            let reconstruction = decode(b, active[b], from: decoderBias)
            for c in 0..<d { r[b * d + c] = Double(x[b, c]) - reconstruction[c] }
        }
        denominator = 0
        for c in 0..<d {
            let column = (0..<x.rows).map { r[$0 * d + c] }
            let mean = column.reduce(0, +) / Double(x.rows)
            denominator += column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.rows)
        }
        residual = r
    }

    /// L = (1/n) Σ_i w_i mean_b ‖x − x̂_i‖² + α mean_b ‖r − ê‖² / mean_b ‖r − r̄‖².
    var value: Double {
        let batch = Double(x.rows)
        var loss = 0.0
        for b in 0..<x.rows {
            for (end, weight) in zip(prefixes, weights) {
                let reconstruction = decode(b, active[b].filter { $0 < end }, from: decoderBias)
                let square = (0..<d).reduce(0.0) {
                    $0 + (Double(x[b, $1]) - reconstruction[$1]) * (Double(x[b, $1]) - reconstruction[$1])
                }
                loss += weight * square / (batch * Double(prefixes.count))
            }
            if let residual {
                let revival = decode(b, revived[b], from: [Double](repeating: 0, count: d))
                let square = (0..<d).reduce(0.0) {
                    $0 + (residual[b * d + $1] - revival[$1]) * (residual[b * d + $1] - revival[$1])
                }
                loss += auxiliaryWeight * square / (batch * denominator)
            }
        }
        return loss
    }

    /// ∂L/∂(element of a parameter) by central difference. The loss is a polynomial of low degree in each element, so
    /// a step of 1e-4 leaves an error near 1e-8 of the loss's curvature.
    func slope(_ parameter: WritableKeyPath<NaiveLoss, [Double]>, _ i: Int) -> Double {
        var moved = self
        let step = 1e-4
        moved[keyPath: parameter][i] = self[keyPath: parameter][i] + step
        let above = moved.value
        moved[keyPath: parameter][i] = self[keyPath: parameter][i] - step
        return (above - moved.value) / (2 * step)
    }
}
