import Kernels
import LinearAlgebra

/// The loss over all prefixes and its gradients on codes, decoder rows and decoder bias, in closed form.
///
/// With r_i = x − x̂_i and n prefixes, L_rec = (1/n) Σ_i w_i · mean_b ‖r_i‖². The gradient on an active code of a
/// latent whose first prefix is g is ∂L_rec/∂f_bj = ⟨S_bg, W_dec,j⟩ with S_bg = −(2/(nB)) Σ_{i≥g} w_i r_{b,i}: one
/// suffix sum per prefix and row, then one dot product per active entry. ∂L_rec/∂W_dec,j = Σ_b f_bj S_bg uses the
/// same sums, and ∂L_rec/∂b_dec = Σ_b S_b1 (method: arXiv:2503.17547; the 1/n twice is the reference trainer's).
///
/// All of it is done for some columns before the next: of r and S no more exists than a panel of columns for each lane.
final class PrefixGradient {
    private let lanes: Lanes
    private let panels: ColumnPanels

    init(lanes: Lanes, panels: ColumnPanels) {
        self.lanes = lanes
        self.panels = panels
    }

    /// What the latents of all ranks add to the reconstructions of a batch: of each group, and behind them of dead latents, [B, D].
    private struct Shared {
        let sums: Matrix
        let rows: Int

        /// slot −= the columns of a panel of reconstruction i.
        func subtract(_ i: Int, from panel: ColumnPanels.Panel, _ slot: UnsafeMutablePointer<Float>) {
            for b in 0..<rows {
                kernels.addScaled(
                    slot + b * panel.width, sums.row(i * rows + b) + panel.columns.lowerBound, -1, panel.width)
            }
        }
    }

    /// Kept from batch to batch.
    private var reconstructions = Matrix(rows: 0, columns: 0)

    /// The sums over ranks of what each one's latents reconstruct.
    private func share(
        _ x: Matrix, _ codes: LatentMajorCodes, _ sae: SparseAutoencoder, _ groups: [Range<Int>],
        revived: AuxiliaryLoss?, among peers: LatentPeers
    ) throws -> Shared {
        let (d, rows) = (x.columns, x.rows), count = groups.count + (revived == nil ? 0 : 1)
        if reconstructions.rows != count * rows { reconstructions = Matrix(rows: count * rows, columns: d) }
        let sums = reconstructions
        panels.forEach(columns: d, rows: rows, slots: 1) { panel in
            let (first, width, slot) = (panel.columns.lowerBound, panel.width, panel.slot(0))
            for i in 0..<count {
                slot.update(repeating: 0, count: panel.count)
                let entries =
                    i < groups.count
                    ? codes.valuedByHalves(groups[i], bytes: panel.bytes)
                    : revived!.entries.valuedByHalves(0..<sae.dSAE, bytes: panel.bytes)
                for part in entries {
                    kernels.addRowsByLatent(slot, width, 1, part, sae.decoder.elements + first, d, width)
                }
                for b in 0..<rows { (sums.row(i * rows + b) + first).update(from: slot + b * width, count: width) }
            }
        }
        try peers.group.sum(UnsafeMutableBufferPointer(start: sums.elements, count: sums.count))
        return Shared(sums: sums, rows: rows)
    }

    /// Σ_b ‖r_i‖² for each prefix. Fills the decoder rows, their squares and the decoder bias of `gradients`, and each
    /// lane's part of the gradients on `codes`; does the same for `revived`, dead latents that explain r_n. Among ranks the
    /// reconstructions are those of all latents, and come before.
    func compute(
        _ x: Matrix, _ codes: LatentMajorCodes, _ sae: SparseAutoencoder, weights: [Double],
        revived: AuxiliaryLoss?, among peers: LatentPeers?, into gradients: ParameterGradients
    ) throws -> [Double] {
        let (d, n) = (x.columns, sae.layout.prefixes.count)
        let factors = weights.map { Float(-2 * $0 / (Double(n) * Double(x.rows))) }
        let groups = zip([0] + sae.layout.prefixes, sae.layout.prefixes).map { $0..<$1 }
        let shared = try peers.map { try share(x, codes, sae, groups, revived: revived, among: $0) }
        var squares = [Double](repeating: 0, count: lanes.count * n)
        squares.withUnsafeMutableBufferPointer { squares in
            let squares = SendablePointer(squares.baseAddress!)
            // Slot i holds r_i, the last one S; behind it, if there are dead latents, is a copy of r_n.
            panels.forEach(columns: d, rows: x.rows, slots: n + 1) { panel in
                let (first, width, sum) = (panel.columns.lowerBound, panel.width, panel.slot(n - 1))
                let decoder = sae.decoder.elements + first
                panel.load(x, minus: sae.decoderBias, into: 0)
                for (i, group) in groups.enumerated() {
                    // r_i = r_{i−1} − f_{group i} W_dec,{group i}
                    if let shared {
                        shared.subtract(i, from: panel, panel.slot(i))
                    } else {
                        for part in codes.valuedByHalves(group, bytes: panel.bytes) {
                            kernels.addRowsByLatent(panel.slot(i), width, -1, part, decoder, d, width)
                        }
                    }
                    squares.pointer[panel.lane * n + i] += panel.squaredNorm(
                        of: i, copyingTo: i < n - 1 || revived != nil ? i + 1 : nil)
                }
                for (i, group) in groups.enumerated().reversed() {
                    // S_i = S_{i+1} + factor_i r_i
                    if i == n - 1 {
                        kernels.scale(sum, factors[i], panel.count)
                    } else {
                        kernels.combine(sum, factors[i], panel.slot(i), 1, sum, panel.count)
                    }
                    kernels.sumRowsByLatentWithProducts(
                        gradients.decoder.elements + first, d, codes.valued(group), sum, width, width,
                        gradients.decoderSquares(panel.lane), decoder, codes.products(lane: panel.lane))
                }
                panel.sumRows(n - 1, into: gradients.decoderBias.elements + first)
                revived?.compute(panel, residual: n, sae, into: gradients) { panel, residual in
                    guard let shared else { return false }
                    shared.subtract(n, from: panel, residual)
                    return true
                }
            }
        }
        return (0..<n).map { i in stride(from: i, to: squares.count, by: n).reduce(0) { $0 + squares[$1] } }
    }
}
