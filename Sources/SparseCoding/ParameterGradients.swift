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
        let d = sae.dIn
        let ranges = codes.balancedRanges(lanes.count)
        squares.withUnsafeMutableBufferPointer { squares in
            let squares = SendablePointer(squares.baseAddress!)
            lanes.run { lane in
                for j in ranges[lane] {
                    squares.pointer[j] = latentGradient(
                        j, centered, sae, gradient, slot: Int(sources[j]), isFrozen: j < frozen, projecting,
                        sum: sums.row(lane), d)
                }
            }
        }
        gradient.sumOverBatch(slot: 0, rows: centered.rows, into: decoderBias)
        subtractEncoderPath(sae)
    }

    private func latentGradient(
        _ j: Int, _ centered: Matrix, _ sae: SparseAutoencoder, _ gradient: PrefixGradient, slot: Int, isFrozen: Bool,
        _ projecting: Bool, sum: UnsafeMutablePointer<Float>, _ d: Int
    ) -> Double {
        let entries = codes.entries(ofLatent: j)
        encoderBias[j] = 0
        guard !entries.isEmpty else { return 0 }
        var biasGradient: Double = 0
        for e in entries { biasGradient += Double(codes.deltas[e]) }
        encoderBias[j] = Float(biasGradient)
        var square = biasGradient * biasGradient

        sum.update(repeating: 0, count: d)
        let stride = (gradient.prefixCount + 1) * d
        gather(entries, codes.values, gradient.sources.elements + slot * d, stride, into: sum, d)
        if projecting {
            let row = sae.decoder.row(j)
            let norm = kernels.dot(row, row, d).squareRoot() + 1e-6
            kernels.addScaled(sum, row, -kernels.dot(sum, row, d) / (norm * norm), d)
        }
        square += Double(kernels.dot(sum, sum, d))
        kernels.stream(decoder.row(j), sum, d)

        if !isFrozen {
            sum.update(repeating: 0, count: d)
            gather(entries, codes.deltas, centered.elements, d, into: sum, d)
            square += Double(kernels.dot(sum, sum, d))
            kernels.stream(encoder.row(j), sum, d)
        }
        return square
    }

    /// target += Σ_e weights[e] · (row rows[e] of a matrix with `stride` between rows), four rows a pass.
    private func gather(
        _ entries: Range<Int>, _ weights: UnsafePointer<Float>, _ base: UnsafePointer<Float>, _ stride: Int,
        into target: UnsafeMutablePointer<Float>, _ d: Int
    ) {
        let rows = codes.rows
        let addScaled4 = kernels.addScaled4
        var e = entries.lowerBound
        while e + 4 <= entries.upperBound {
            addScaled4(
                target, base + Int(rows[e]) * stride, base + Int(rows[e + 1]) * stride,
                base + Int(rows[e + 2]) * stride, base + Int(rows[e + 3]) * stride,
                SIMD4(weights[e], weights[e + 1], weights[e + 2], weights[e + 3]), d)
            e += 4
        }
        while e < entries.upperBound {
            kernels.addScaled(target, base + Int(rows[e]) * stride, weights[e], d)
            e += 1
        }
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
