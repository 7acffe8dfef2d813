import Kernels
import LinearAlgebra

/// AuxK (arXiv:2406.04093): dead latents reconstruct what the live ones left over.
///
/// Per token the k_aux = min(count, #dead) largest positive pre-activations among dead latents are z;
/// ê = z W_dec (no bias), r = x − x̂_n held constant, r̄ its batch mean;
/// L_aux = mean_b ‖r − ê‖² / mean_b ‖r − r̄‖², NaN → 0.
/// With den the denominator, A_b = −(2α/(B·den)) (r_b − ê_b): ∂(α L_aux)/∂z_bj = ⟨A_b, W_dec,j⟩ and
/// ∂(α L_aux)/∂W_dec,j = Σ_b z_bj A_b, the same form as the main loss with A in the place of S.
package final class AuxiliaryLoss {
    /// z [B, F].
    package let codes = SparseCodes()
    /// ∂(α L_aux)/∂z, parallel to `codes`.
    private(set) var deltas = Matrix(rows: 1, columns: 0)
    /// mean_b ‖r − r̄‖², for tests.
    package private(set) var denominator = 0.0
    private let pass: EncodingPass
    private let lanes: Lanes
    private let positive = SparseCodes()
    private let largest = SparseCodes()
    /// [most latents that were dead, D + 1]: their encoders and biases.
    private var gatheredRows = Matrix(rows: 0, columns: 0)

    /// Half of all pre-activations may be positive, and only k_aux of each row stay: so many are looked at together.
    private static let blockEntries = 8 << 20

    init(lanes: Lanes) {
        self.lanes = lanes
        pass = EncodingPass(lanes: lanes)
    }

    /// L_aux for the latents in `dead` (ascending); replaces the last slot of `gradient` (r_n) by A.
    func compute(
        _ centered: Matrix, _ sae: SparseAutoencoder, dead: [Int], count: Int, weight: Double,
        gradient: PrefixGradient
    ) -> Double {
        let (batch, d, slot) = (centered.rows, sae.dIn, gradient.prefixCount)
        selectDead(centered, sae, dead, min(count, dead.count))
        denominator = residualVariance(batch, d, gradient, slot)
        if deltas.columns < codes.count { deltas = Matrix(rows: 1, columns: codes.count + codes.count / 4) }
        // Without variance L_aux is NaN → 0 and has no gradient.
        guard denominator > 0 else { return 0 }
        let factor = Float(-2 * weight / (Double(batch) * denominator))
        var partial = [Double](repeating: 0, count: lanes.count)
        partial.withUnsafeMutableBufferPointer { partial in
            let partial = SendablePointer(partial.baseAddress!)
            lanes.forRanges(batch) { lane, rows in
                var squares = 0.0
                for b in rows {
                    let residual = gradient.source(row: b, slot: slot)
                    let entries = codes.entries(ofRow: b)
                    // r − ê is r plus the rows of W_dec times −z.
                    kernels.scale(residual, -1, d)
                    sae.accumulate(codes, entries, into: residual)
                    squares += Double(kernels.dot(residual, residual, d))
                    kernels.scale(residual, -factor, d)
                    sae.decoderProducts(codes, entries, with: residual, into: deltas.elements)
                }
                partial.pointer[lane] = squares
            }
        }
        let numerator = partial.reduce(0, +) / Double(batch)
        return numerator / denominator
    }

    /// Whether the residual has any variance.
    var hasGradient: Bool { denominator > 0 }

    private func selectDead(_ centered: Matrix, _ sae: SparseAutoencoder, _ dead: [Int], _ count: Int) {
        let encoder = gathered(sae, dead)
        codes.reset(rows: centered.rows, columns: sae.dSAE, capacity: 0)
        let blockRows = max(256, Self.blockEntries / dead.count / 16 * 16)
        for start in stride(from: 0, to: centered.rows, by: blockRows) {
            let rows = start..<min(start + blockRows, centered.rows)
            pass.collect(centered, encoder, rows: rows, thresholds: nil, exempt: 0, limit: nil)
            positive.assemble(pass.found, rows: rows.count, columns: dead.count, lanes: lanes)
            largest.becomeLargest(count, ofEachRow: positive, lanes: lanes)
            codes.append(largest, atRow: start)
        }
        for e in 0..<codes.count {
            codes.columnIndices[e] = Int32(truncatingIfNeeded: dead[Int(codes.columnIndices[e])])
        }
    }

    /// The dead latents' encoder as an SAE of its own: few are dead as a rule, and encoding only those costs their
    /// share of the product.
    private func gathered(_ sae: SparseAutoencoder, _ dead: [Int]) -> Encoder {
        let d = sae.dIn
        if gatheredRows.rows < dead.count {
            // A multiple of 16 rows, so that the biases behind them are aligned too.
            gatheredRows = Matrix(rows: (dead.count * 5 / 4 + 15) / 16 * 16, columns: d + 1)
        }
        let (rows, biases) = (gatheredRows.elements, gatheredRows.elements + gatheredRows.rows * d)
        lanes.forRanges(dead.count) { _, range in
            for i in range {
                (rows + i * d).update(from: sae.encoder.row(dead[i]), count: d)
                biases[i] = sae.encoderBias[dead[i]]
            }
        }
        return Encoder(
            weights: Matrix(rows: dead.count, columns: d, elements: rows, owner: gatheredRows),
            bias: Matrix(rows: 1, columns: dead.count, elements: biases, owner: gatheredRows))
    }

    private func residualVariance(_ batch: Int, _ d: Int, _ gradient: PrefixGradient, _ slot: Int) -> Double {
        let mean = Matrix(rows: 1, columns: d)
        gradient.sumOverBatch(slot: slot, rows: batch, into: mean)
        for c in 0..<d { mean[c] /= Float(batch) }
        var partial = [Double](repeating: 0, count: lanes.count)
        partial.withUnsafeMutableBufferPointer { partial in
            let partial = SendablePointer(partial.baseAddress!)
            lanes.forRanges(batch) { lane, rows in
                let difference = Matrix(rows: 1, columns: d)
                var squares = 0.0
                for b in rows {
                    kernels.combine(
                        difference.elements, 1, gradient.source(row: b, slot: slot), -1, mean.elements, d)
                    squares += Double(kernels.dot(difference.elements, difference.elements, d))
                }
                partial.pointer[lane] = squares
            }
        }
        return partial.reduce(0, +) / Double(batch)
    }
}
