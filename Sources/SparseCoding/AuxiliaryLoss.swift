import Kernels
import LinearAlgebra

/// AuxK (arXiv:2406.04093): dead latents reconstruct what the live ones left over.
///
/// Per token the k_aux = min(count, #dead) largest positive pre-activations among dead latents are z;
/// ê = z W_dec (no bias), r = x − x̂_n held constant, r̄ its batch mean;
/// L_aux = mean_b ‖r − ê‖² / mean_b ‖r − r̄‖², NaN → 0.
/// With den the denominator, A_b = −(2α/(B·den)) (r_b − ê_b): ∂(α L_aux)/∂z_bj = ⟨A_b, W_dec,j⟩ and
/// ∂(α L_aux)/∂W_dec,j = Σ_b z_bj A_b, the same form as the main loss with A in the place of S.
///
/// den is known only when all columns are done: sums are taken over r − ê, and −2α/(B·den) is their `factor`.
package final class AuxiliaryLoss {
    /// z [B, F].
    package let codes = SparseCodes()
    /// The same by latent, with ∂(α L_aux)/∂z.
    let entries: LatentMajorCodes
    /// mean_b ‖r − r̄‖², for tests.
    package private(set) var denominator = 0.0
    /// What the sums over r − ê are to be multiplied by; 0 where r has no variance.
    private(set) var factor: Float = 0
    private let pass: EncodingPass
    private let lanes: Lanes
    private let positive = SparseCodes()
    private let largest = SparseCodes()
    /// [most latents that were dead, D + 1]: their encoders and biases.
    private var gatheredRows = Matrix(rows: 0, columns: 0)
    /// [lanes]: Σ ‖r − r̄‖² and Σ ‖r − ê‖² of a lane's columns.
    private var variances: [Double]
    private var squares: [Double]

    /// Half of all pre-activations may be positive, and only k_aux of each row stay: so many are looked at together.
    private static let blockEntries = 8 << 20

    init(lanes: Lanes) {
        self.lanes = lanes
        pass = EncodingPass(lanes: lanes)
        entries = LatentMajorCodes(lanes: lanes)
        variances = [Double](repeating: 0, count: lanes.count)
        squares = variances
    }

    /// Chooses z among the latents in `dead` (ascending).
    func select(_ centered: Matrix, _ sae: SparseAutoencoder, dead: [Int], count: Int) {
        selectDead(centered, sae, dead, min(count, dead.count))
        entries.assemble(codes)
        for lane in 0..<lanes.count { (variances[lane], squares[lane]) = (0, 0) }
    }

    /// The share of a panel whose slot `slot` holds r: sums of squares, decoder rows and each lane's part of the
    /// gradients on z. Slots 0 and `slot` are overwritten.
    func compute(
        _ panel: ColumnPanels.Panel, residual slot: Int, _ sae: SparseAutoencoder, into gradients: ParameterGradients
    ) {
        let (d, width, first, residual) = (sae.dIn, panel.width, panel.columns.lowerBound, panel.slot(slot))
        variances[panel.lane] += variance(panel, slot)
        let all = entries.valued(0..<sae.dSAE)
        kernels.addRowsByLatent(residual, width, -1, all, sae.decoder.elements + first, d, width)
        squares[panel.lane] += panel.square(slot, copying: false)
        kernels.sumRowsByLatentWithProducts(
            gradients.decoder.elements + first, d, all, residual, width, width, gradients.decoderSquares(panel.lane),
            sae.decoder.elements + first, entries.products(lane: panel.lane))
    }

    /// L_aux, once all panels are done; sets `factor`.
    func finish(weight: Double) -> Double {
        let batch = Double(codes.rows)
        denominator = variances.reduce(0, +) / batch
        // Without variance L_aux is NaN → 0 and has no gradient.
        guard denominator > 0 else {
            factor = 0
            return 0
        }
        factor = Float(-2 * weight / (batch * denominator))
        return squares.reduce(0, +) / batch / denominator
    }

    /// Σ_b ‖r_b − r̄‖² of a panel.
    private func variance(_ panel: ColumnPanels.Panel, _ slot: Int) -> Double {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * panel.width) { memory in
            let (mean, difference) = (memory.baseAddress!, memory.baseAddress! + panel.width)
            panel.sumRows(slot, into: mean)
            kernels.scale(mean, 1 / Float(panel.rows), panel.width)
            var sum = 0.0
            for b in 0..<panel.rows {
                kernels.combine(difference, 1, panel.slot(slot) + b * panel.width, -1, mean, panel.width)
                sum += Double(kernels.dot(difference, difference, panel.width))
            }
            return sum
        }
    }

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
}
