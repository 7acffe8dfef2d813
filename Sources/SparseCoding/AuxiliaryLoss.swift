import Glibc
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
    /// den = mean_b ‖r − r̄‖² of the last batch.
    package private(set) var denominator = 0.0
    /// What the sums over r − ê are to be multiplied by; 0 where r has no variance.
    private(set) var factor: Float = 0
    /// What z is chosen from.
    package let candidates: RowCandidates
    private let lanes: Lanes
    private var count = 0
    /// [lanes] each: Σ ‖r − r̄‖² and Σ ‖r − ê‖² of a lane's columns.
    private let variances: UnsafeMutablePointer<Double>
    private let squares: UnsafeMutablePointer<Double>

    init(lanes: Lanes) {
        self.lanes = lanes
        candidates = RowCandidates(lanes: lanes)
        entries = LatentMajorCodes(lanes: lanes)
        variances = allocateAligned(lanes.count)
        squares = allocateAligned(lanes.count)
    }

    deinit {
        free(variances)
        free(squares)
    }

    /// Begins a batch in which `silent` latents are dead unless they fire; k_aux is at most `count`.
    func begin(silent: [Int], of latentCount: Int, rows: Int, count: Int) {
        self.count = count
        candidates.begin(silent, of: latentCount, rows: rows, k: min(count, silent.count))
    }

    /// Chooses z among `candidates` once it is known who is dead; `again` brings their tiles once more. Among ranks each offers its largest,
    /// and where there are more than are wanted rank 0 chooses.
    func select(dead: [Int], of latentCount: Int, among peers: LatentPeers? = nil, again: () -> Void) throws {
        candidates.largest(min(count, dead.count), among: dead, of: latentCount, into: codes, again: again)
        if let (_, marks) = try peers?.largest(count, ofEachRow: { codes }, dead: dead.count) { codes.keep(marks) }
        entries.assemble(codes)
        for lane in 0..<lanes.count { (variances[lane], squares[lane]) = (0, 0) }
    }

    /// The share of a panel whose slot `slot` holds r: sums of squares, decoder rows and each lane's part of the
    /// gradients on z. The slot is overwritten. Unless `subtract` does it, ê is made of the entries.
    func compute(
        _ panel: ColumnPanels.Panel, residual slot: Int, _ sae: SparseAutoencoder, into gradients: ParameterGradients,
        subtracting subtract: (ColumnPanels.Panel, UnsafeMutablePointer<Float>) -> Bool
    ) {
        let (d, width, first, residual) = (sae.dIn, panel.width, panel.columns.lowerBound, panel.slot(slot))
        variances[panel.lane] += variance(panel, slot)
        let all = entries.valued(0..<sae.dSAE)
        if !subtract(panel, residual) {
            for part in entries.valuedByHalves(0..<sae.dSAE, bytes: panel.bytes) {
                kernels.addRowsByLatent(residual, width, -1, part, sae.decoder.elements + first, d, width)
            }
        }
        squares[panel.lane] += panel.squaredNorm(of: slot)
        kernels.sumRowsByLatentWithProducts(
            gradients.decoder.elements + first, d, all, residual, width, width, gradients.decoderSquares(panel.lane),
            sae.decoder.elements + first, entries.products(lane: panel.lane))
    }

    /// L_aux, once all panels are done; sets `factor`.
    func finish(weight: Double) -> Double {
        let batch = Double(codes.rows)
        denominator = total(variances) / batch
        // Without variance L_aux is NaN → 0 and has no gradient.
        guard denominator > 0 else {
            factor = 0
            return 0
        }
        factor = Float(-2 * weight / (batch * denominator))
        return total(squares) / batch / denominator
    }

    private func total(_ sums: UnsafeMutablePointer<Double>) -> Double {
        (0..<lanes.count).reduce(0) { $0 + sums[$1] }
    }

    /// Σ_b ‖r_b − r̄‖² of a panel.
    private func variance(_ panel: ColumnPanels.Panel, _ slot: Int) -> Double {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * panel.width) { memory in
            let (mean, difference) = (memory.baseAddress!, memory.baseAddress! + panel.width)
            panel.sumRows(slot, dividedBy: Double(panel.rows), into: mean)
            var sum = 0.0
            for b in 0..<panel.rows {
                kernels.combine(difference, 1, panel.slot(slot) + b * panel.width, -1, mean, panel.width)
                sum += Double(kernels.dot(difference, difference, panel.width))
            }
            return sum
        }
    }
}
