import Kernels
import LinearAlgebra

/// Gradients of all parameters, one row per latent like the parameters; rows of latents with no entry in the batch
/// are zero by convention and never written.
package final class ParameterGradients {
    let encoder: Matrix
    let decoder: Matrix
    package let encoderBias: Matrix
    package let decoderBias: Matrix
    let codes: LatentMajorCodes
    private var squares: [Double]
    private let zeroRow: Matrix
    /// [lanes, D]: where a lane sums up a row. The gradients as a whole are read once, by Adam, long after.
    private let sums: Matrix
    private let lanes: Lanes

    init(_ sae: SparseAutoencoder, lanes: Lanes) {
        self.lanes = lanes
        codes = LatentMajorCodes(lanes: lanes)
        encoder = Matrix(rows: sae.dSAE, columns: sae.dIn)
        decoder = Matrix(rows: sae.dSAE, columns: sae.dIn)
        encoderBias = Matrix(rows: 1, columns: sae.dSAE)
        decoderBias = Matrix(rows: 1, columns: sae.dIn)
        squares = [Double](repeating: 0, count: sae.dSAE)
        zeroRow = Matrix(rows: 1, columns: sae.dIn)
        sums = Matrix(rows: lanes.count, columns: sae.dIn)
    }

    /// ∂L/∂W_enc,j = Σ_b δ_bj (x_b − b_dec), ∂L/∂b_enc,j = Σ_b δ_bj, ∂L/∂W_dec,j = Σ_b f_bj S_b,source(j), and
    /// ∂L/∂b_dec = Σ_b S_b1 − Σ_j (∂L/∂b_enc,j) W_enc,:j, since b_dec also enters the encoder.
    ///
    /// `sources[j]` is latent j's slot in `gradient`. With `projecting`, the component of each decoder row's
    /// gradient along the row is removed: the row's norm is held at 1 and must not feed Adam's moments.
    /// Encoder rows below `frozen` get none.
    func compute(
        _ centered: Matrix, _ sae: SparseAutoencoder, _ gradient: PrefixGradient, sources: [Int32], frozen: Int,
        projecting: Bool
    ) {
        // One prefix after the other, both lanes in the same, and encoders after all decoders: each time the rows that are
        // gathered are those of one [B, D], which stays in the last cache.
        let ends = sae.layout.prefixes
        let groups = zip([0] + ends, ends).map { codes.balancedRanges(lanes.count, of: $0..<$1) }
        squares.withUnsafeMutableBufferPointer { squares in
            let squares = SendablePointer(squares.baseAddress!)
            lanes.run { lane in
                let sum = sums.row(lane)
                for group in groups {
                    for j in group[lane] {
                        squares.pointer[j] =
                            sumBias(j) + sumDecoder(j, sae, gradient, slot: Int(sources[j]), projecting, sum)
                    }
                }
                for group in groups {
                    for j in group[lane] where j >= frozen { squares.pointer[j] += sumEncoder(j, centered, sum) }
                }
            }
        }
        gradient.sumOverBatch(slot: 0, rows: centered.rows, into: decoderBias)
        subtractEncoderPath(sae)
    }

    /// Each of these writes a latent's gradient and returns its square.
    private func sumBias(_ j: Int) -> Double {
        var sum = 0.0
        for e in codes.entries(ofLatent: j) { sum += Double(codes.deltas[e]) }
        encoderBias[j] = Float(sum)
        return sum * sum
    }

    private func sumDecoder(
        _ j: Int, _ sae: SparseAutoencoder, _ gradient: PrefixGradient, slot: Int, _ projecting: Bool,
        _ sum: UnsafeMutablePointer<Float>
    ) -> Double {
        let (entries, d) = (codes.entries(ofLatent: j), decoder.columns)
        guard !entries.isEmpty else { return 0 }
        sum.update(repeating: 0, count: d)
        accumulateRows(
            of: gradient.source(row: 0, slot: slot), d, indices: codes.rows, weights: codes.values, entries, into: sum)
        if projecting {
            let row = sae.decoder.row(j)
            let norm = kernels.dot(row, row, d).squareRoot() + 1e-6
            kernels.addScaled(sum, row, -kernels.dot(sum, row, d) / (norm * norm), d)
        }
        kernels.stream(decoder.row(j), sum, d)
        return Double(kernels.dot(sum, sum, d))
    }

    private func sumEncoder(_ j: Int, _ centered: Matrix, _ sum: UnsafeMutablePointer<Float>) -> Double {
        let (entries, d) = (codes.entries(ofLatent: j), encoder.columns)
        guard !entries.isEmpty else { return 0 }
        sum.update(repeating: 0, count: d)
        accumulateRows(
            of: centered.elements, d, indices: codes.rows, weights: codes.deltas, entries, into: sum)
        kernels.stream(encoder.row(j), sum, d)
        return Double(kernels.dot(sum, sum, d))
    }

    private func subtractEncoderPath(_ sae: SparseAutoencoder) {
        guard sae.subtractsDecoderBias else { return }
        let d = sae.dIn
        // Columns are cut over the lanes, so that each element's sum has one order whatever their number.
        lanes.forRanges(d, grain: 16) { _, columns in
            let target = decoderBias.elements + columns.lowerBound
            for j in 0..<sae.dSAE where encoderBias[j] != 0 {
                kernels.addScaled(target, sae.encoder.row(j) + columns.lowerBound, -encoderBias[j], columns.count)
            }
        }
    }

    /// ‖all gradients‖₂, rows that do not train left out.
    func globalNorm() -> Double {
        var square = Double(kernels.dot(decoderBias.elements, decoderBias.elements, decoderBias.count))
        for value in squares { square += value }
        return square.squareRoot()
    }

    /// The gradient row of a latent: zeros if it has no entry.
    package func encoderRow(_ j: Int) -> UnsafePointer<Float> {
        UnsafePointer(codes.entries(ofLatent: j).isEmpty ? zeroRow.elements : encoder.row(j))
    }

    /// As `encoderRow`, for the decoder.
    package func decoderRow(_ j: Int) -> UnsafePointer<Float> {
        UnsafePointer(codes.entries(ofLatent: j).isEmpty ? zeroRow.elements : decoder.row(j))
    }
}
