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

    private static let blockRows = 256

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
                    for e in entries {
                        deltas[e] = kernels.dot(residual, sae.decoder.row(Int(codes.columnIndices[e])), d)
                    }
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
        let rows = gathered(sae, dead)
        codes.reset(rows: centered.rows, columns: sae.dSAE, capacity: 0)
        var at = 0
        // Half of all pre-activations may be positive: a block of rows at a time, only k_aux of each row are kept.
        for start in stride(from: 0, to: centered.rows, by: Self.blockRows) {
            let block = start..<min(start + Self.blockRows, centered.rows)
            pass.collect(centered, rows, rows: block, thresholds: nil, exempt: 0, limit: nil)
            positive.assemble(pass.found, rows: block.count, columns: dead.count)
            codes.rowOffsets[codes.rows] = Int64(at)
            codes.reserve(at + min(positive.count, count * block.count))
            for r in block {
                for e in positive.largestEntries(ofRow: r - start, count) {
                    codes.columnIndices[at] = Int32(dead[Int(positive.columnIndices[e])])
                    codes.values[at] = positive.values[e]
                    at += 1
                }
                codes.rowOffsets[r + 1] = Int64(at)
            }
        }
        codes.rowOffsets[codes.rows] = Int64(at)
    }

    /// The dead latents' encoder as an SAE of its own: few are dead as a rule, and encoding only those costs their
    /// share of the product.
    private func gathered(_ sae: SparseAutoencoder, _ dead: [Int]) -> Encoder {
        let result = Encoder(
            weights: Matrix(rows: dead.count, columns: sae.dIn), bias: Matrix(rows: 1, columns: dead.count))
        for (i, j) in dead.enumerated() {
            result.weights.row(i).update(from: sae.encoder.row(j), count: sae.dIn)
            result.bias[i] = sae.encoderBias[j]
        }
        return result
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

extension SparseCodes {
    /// Positions of the `count` largest entries of a row, ascending; ties go to the lower column.
    func largestEntries(ofRow r: Int, _ count: Int) -> [Int] {
        let range = entries(ofRow: r)
        guard range.count > count else { return Array(range) }
        guard count > 0 else { return [] }
        let rank = rankThreshold(values + range.lowerBound, range.count, count)
        var ties = rank.equalCount
        return range.filter {
            if values[$0] > rank.value { return true }
            guard values[$0] == rank.value, ties > 0 else { return false }
            ties -= 1
            return true
        }
    }
}
