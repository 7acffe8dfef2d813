import Kernels
import LinearAlgebra

/// The loss over all prefixes and its gradient on the codes, in closed form.
///
/// With r_i = x − x̂_i and n prefixes, L_rec = (1/n) Σ_i w_i · mean_b ‖r_i‖². The gradient on an active code of a
/// latent whose first prefix is g is ∂L_rec/∂f_bj = ⟨S_bg, W_dec,j⟩ with S_bg = −(2/(nB)) Σ_{i≥g} w_i r_{b,i}: one
/// suffix sum per prefix and row, then one dot product per active entry. ∂L_rec/∂W_dec,j = Σ_b f_bj S_bg uses the
/// same sums, and ∂L_rec/∂b_dec = Σ_b S_b1 (method: arXiv:2503.17547; the 1/n twice is the reference trainer's).
final class PrefixGradient {
    /// [(n + 1)·B, D]: rows gB + b hold S_bg; rows nB + b, if there are dead latents, first the last residual r_n and then
    /// the auxiliary loss's counterpart of S. Slot by slot, since a latent's gradient gathers rows of one.
    private(set) var sources = Matrix(rows: 0, columns: 0)
    private(set) var deltas = Matrix(rows: 1, columns: 0)
    private(set) var prefixCount = 0
    private var batch = 0
    private let lanes: Lanes
    /// [lanes, D]: x̂ of the row a lane is at.
    private var reconstructions = Matrix(rows: 0, columns: 0)

    init(lanes: Lanes) { self.lanes = lanes }

    /// Start of S_bg, or of the last slot for `slot` = n.
    func source(row: Int, slot: Int) -> UnsafeMutablePointer<Float> { sources.row(slot * batch + row) }

    /// Σ_b ‖r_i‖² for each prefix; fills `sources`, their last slot only if it `keepsResidual`, and `deltas` (parallel to
    /// the entries of `codes`).
    func compute(
        _ x: Matrix, _ codes: SparseCodes, _ sae: SparseAutoencoder, weights: [Double], keepsResidual: Bool
    ) -> [Double] {
        let (d, n) = (x.columns, sae.layout.prefixes.count)
        (batch, prefixCount) = (x.rows, n)
        if sources.rows != batch * (n + 1) || sources.columns != d {
            sources = Matrix(rows: batch * (n + 1), columns: d)
        }
        if reconstructions.columns != d { reconstructions = Matrix(rows: lanes.count, columns: d) }
        if deltas.columns < codes.count { deltas = Matrix(rows: 1, columns: codes.count + codes.count / 4) }
        let factors = weights.map { Float(-2 * $0 / (Double(n) * Double(batch))) }
        let prefixes = sae.layout.prefixes
        var squares = [Double](repeating: 0, count: lanes.count * n)
        squares.withUnsafeMutableBufferPointer { squares in
            let squares = SendablePointer(squares.baseAddress!)
            lanes.forRanges(batch) { lane, rows in
                withUnsafeTemporaryAllocation(of: Int.self, capacity: n) { ends in
                    for b in rows {
                        forward(
                            b, x, codes, sae, prefixes, reconstructions.row(lane), ends.baseAddress!,
                            squares.pointer + lane * n)
                        if keepsResidual { source(row: b, slot: n).update(from: source(row: b, slot: n - 1), count: d) }
                        backward(b, codes, sae, factors, ends.baseAddress!)
                    }
                }
            }
        }
        return (0..<n).map { i in stride(from: i, to: squares.count, by: n).reduce(0) { $0 + squares[$1] } }
    }

    /// x̂_i = x̂_{i−1} + f_{group i} W_dec,{group i};  r_i = x − x̂_i, into slot i; entries of prefix i end at `ends[i]`.
    private func forward(
        _ b: Int, _ x: Matrix, _ codes: SparseCodes, _ sae: SparseAutoencoder, _ prefixes: [Int],
        _ reconstruction: UnsafeMutablePointer<Float>, _ ends: UnsafeMutablePointer<Int>,
        _ squares: UnsafeMutablePointer<Double>
    ) {
        let d = x.columns
        let entries = codes.entries(ofRow: b)
        reconstruction.update(from: sae.decoderBias.elements, count: d)
        var start = entries.lowerBound
        for (i, prefix) in prefixes.enumerated() {
            var end = start
            while end < entries.upperBound && codes.columnIndices[end] < Int32(prefix) { end += 1 }
            sae.accumulate(codes, start..<end, into: reconstruction)
            let residual = source(row: b, slot: i)
            kernels.combine(residual, 1, x.row(b), -1, reconstruction, d)
            squares[i] += Double(kernels.dot(residual, residual, d))
            ends[i] = end
            start = end
        }
    }

    /// S_g = S_{g+1} + factor_g r_g, in place of r_g;  ∂L_rec/∂f_bj = ⟨S_bg, W_dec,j⟩
    private func backward(
        _ b: Int, _ codes: SparseCodes, _ sae: SparseAutoencoder, _ factors: [Float], _ ends: UnsafePointer<Int>
    ) {
        let (d, n) = (sources.columns, prefixCount)
        kernels.scale(source(row: b, slot: n - 1), factors[n - 1], d)
        for i in stride(from: n - 2, through: 0, by: -1) {
            let residual = source(row: b, slot: i)
            kernels.combine(residual, factors[i], residual, 1, source(row: b, slot: i + 1), d)
        }
        var start = codes.entries(ofRow: b).lowerBound
        for i in 0..<n {
            sae.decoderProducts(codes, start..<ends[i], with: source(row: b, slot: i), into: deltas.elements)
            start = ends[i]
        }
    }

    /// Σ_b of slot `slot` over the batch, into `target` [D]; blocks of rows in single precision, their sum in Double.
    func sumOverBatch(slot: Int, rows: Int, into target: Matrix) {
        let d = sources.columns
        lanes.forRanges(d, grain: 16) { _, columns in
            var total = [Double](repeating: 0, count: columns.count)
            var block = [Float](repeating: 0, count: columns.count)
            var b = 0
            while b < rows {
                for c in 0..<columns.count { block[c] = 0 }
                let end = min(b + 64, rows)
                block.withUnsafeMutableBufferPointer { block in
                    while b < end {
                        kernels.addScaled(
                            block.baseAddress!, source(row: b, slot: slot) + columns.lowerBound, 1, columns.count)
                        b += 1
                    }
                }
                for c in 0..<columns.count { total[c] += Double(block[c]) }
            }
            for c in 0..<columns.count { target[columns.lowerBound + c] = Float(total[c]) }
        }
    }
}
