import Glibc
import Kernels
import LinearAlgebra

/// Gradients of all parameters, one row per latent like the parameters; rows of latents with no entry in the batch
/// are zero by convention and never written.
///
/// The gradient of decoder row j is its row in `decoder` times a scale, less a part along W_dec,j: see `DecoderTerms`.
package final class ParameterGradients {
    /// ∂L/∂W_dec,j = scale · (row j of `decoder`) − along · W_dec,j. Neither is known before all columns are done, and
    /// Adam reads both rows anyway.
    struct DecoderTerms {
        var hasEntries = false
        var scale: Float = 1
        var along: Float = 0
    }

    let encoder: Matrix
    let decoder: Matrix
    package let encoderBias: Matrix
    package let decoderBias: Matrix
    /// [F], one a latent.
    let decoderTerms: UnsafeMutablePointer<DecoderTerms>
    private let sae: SparseAutoencoder
    private let lanes: Lanes
    private let panels: ColumnPanels
    /// [lanes, F] each: ‖row‖² of the columns that a lane has.
    private let decoderSquares: UnsafeMutablePointer<Double>
    private let encoderSquares: UnsafeMutablePointer<Double>
    private let zeroRow: Matrix

    init(_ sae: SparseAutoencoder, lanes: Lanes, panels: ColumnPanels) {
        self.sae = sae
        self.lanes = lanes
        self.panels = panels
        encoder = Matrix(rows: sae.dSAE, columns: sae.dIn)
        decoder = Matrix(rows: sae.dSAE, columns: sae.dIn)
        encoderBias = Matrix(rows: 1, columns: sae.dSAE)
        decoderBias = Matrix(rows: 1, columns: sae.dIn)
        decoderTerms = allocateAligned(sae.dSAE)
        decoderTerms.initialize(repeating: DecoderTerms(), count: sae.dSAE)
        decoderSquares = allocateAligned(lanes.count * sae.dSAE)
        encoderSquares = allocateAligned(lanes.count * sae.dSAE)
        zeroRow = Matrix(rows: 1, columns: sae.dIn)
    }

    deinit {
        free(decoderTerms)
        free(decoderSquares)
        free(encoderSquares)
    }

    func decoderSquares(_ lane: Int) -> UnsafeMutablePointer<Double> { decoderSquares + lane * sae.dSAE }

    /// Gives their memory back, where there is much of it.
    func discard() {
        encoder.discard()
        decoder.discard()
    }

    /// Forgets the batch before.
    func begin() {
        let latents = sae.dSAE
        lanes.run { lane in
            decoderSquares(lane).update(repeating: 0, count: latents)
            (encoderSquares + lane * latents).update(repeating: 0, count: latents)
        }
        decoderTerms.update(repeating: DecoderTerms(), count: latents)
    }

    /// Ends the sums over columns for these entries: the loss they were made for is to be multiplied by `factor`.
    ///
    /// With `projecting`, the component of each decoder row's gradient along the row is removed: the row's norm is held
    /// at 1 and must not feed Adam's moments. ⟨∂L/∂W_dec,j, W_dec,j⟩ = Σ_b f_bj δ_bj, so no row is read for it.
    func completeDecoder(_ codes: LatentMajorCodes, factor: Float, projecting: Bool) {
        codes.sumProducts(factor: factor)
        lanes.forRanges(sae.dSAE) { _, latents in
            for j in latents {
                let entries = codes.entries(ofLatent: j)
                guard !entries.isEmpty else { continue }
                let first = entries.lowerBound
                let sum =
                    projecting
                    ? kernels.sumInDouble(codes.values + first, codes.deltas + first, entries.count) : 0
                decoderTerms[j] = DecoderTerms(
                    hasEntries: true, scale: factor, along: Float(sum / Self.squaredNorm))
            }
        }
    }

    /// Of a unit row, with the reference trainer's ε.
    private static let squaredNorm = (1 + 1e-6) * (1 + 1e-6)

    /// ∂L/∂W_enc,j = Σ_b δ_bj (x_b − b_dec), ∂L/∂b_enc,j = Σ_b δ_bj, and −Σ_j (∂L/∂b_enc,j) W_enc,:j for b_dec, which
    /// also enters the encoder. No latent may have entries that count in two of `codes`. Encoder rows below
    /// `frozen` get no gradient.
    func computeEncoder(_ centered: Matrix, _ codes: [LatentMajorCodes], frozen: Int) {
        let (d, latents) = (sae.dIn, sae.dSAE)
        panels.forEach(columns: d, rows: centered.rows, slots: 1) { panel in
            panel.load(centered, into: 0)
            for part in codes {
                kernels.sumRowsByLatent(
                    encoder.elements + panel.columns.lowerBound, d, part.differentiated(frozen..<latents),
                    panel.slot(0), panel.width, panel.width, encoderSquares + panel.lane * latents)
            }
        }
        lanes.forRanges(latents) { _, range in
            for j in range {
                var sum = 0.0
                for part in codes {
                    let entries = part.entries(ofLatent: j)
                    sum += kernels.sumInDouble(part.deltas + entries.lowerBound, nil, entries.count)
                }
                encoderBias[j] = Float(sum)
            }
        }
        subtractEncoderPath()
    }

    private func subtractEncoderPath() {
        guard sae.subtractsDecoderBias else { return }
        // Columns are cut over the lanes, so that each element's sum has one order whatever their number.
        lanes.forRanges(sae.dIn, grain: 16) { _, columns in
            let target = decoderBias.elements + columns.lowerBound
            let (first, whole) = (columns.lowerBound, sae.dSAE & ~3)
            for j in stride(from: 0, to: whole, by: 4) {
                let shares = -SIMD4(encoderBias[j], encoderBias[j + 1], encoderBias[j + 2], encoderBias[j + 3])
                if shares == .zero { continue }
                kernels.addScaled4(
                    target, sae.encoder.row(j) + first, sae.encoder.row(j + 1) + first, sae.encoder.row(j + 2) + first,
                    sae.encoder.row(j + 3) + first, shares, columns.count)
            }
            for j in whole..<sae.dSAE {
                kernels.addScaled(target, sae.encoder.row(j) + first, -encoderBias[j], columns.count)
            }
        }
    }

    /// ‖all gradients‖², rows that do not train left out; those of b_dec only with `decoderBias`.
    func squaredNorm(decoderBias isCounted: Bool = true) -> Double {
        var square =
            isCounted ? Double(kernels.dot(decoderBias.elements, decoderBias.elements, decoderBias.count)) : 0
        for j in 0..<sae.dSAE {
            var (raw, rest) = (0.0, Double(encoderBias[j]) * Double(encoderBias[j]))
            for lane in 0..<lanes.count {
                raw += decoderSquares[lane * sae.dSAE + j]
                rest += encoderSquares[lane * sae.dSAE + j]
            }
            // ‖g − c w‖² for a unit row w with ⟨g, w⟩ = c · squaredNorm.
            let (scale, c) = (Double(decoderTerms[j].scale), Double(decoderTerms[j].along))
            let projected = scale * scale * raw - c * c * (2 * Self.squaredNorm - 1)
            // Below 0 by rounding only; not max, which would hide a NaN.
            square += (projected < 0 ? 0 : projected) + rest
        }
        return square
    }

    /// The gradient row of a latent: zeros if it has no entry.
    package func encoderRow(_ j: Int) -> UnsafePointer<Float> {
        UnsafePointer(decoderTerms[j].hasEntries ? encoder.row(j) : zeroRow.elements)
    }

    /// As `encoderRow`, of the decoder and before scale and projection.
    func unscaledDecoderRow(_ j: Int) -> UnsafePointer<Float> {
        UnsafePointer(decoderTerms[j].hasEntries ? decoder.row(j) : zeroRow.elements)
    }

    /// The gradient of a decoder row, for tests.
    package func decoderRow(_ j: Int) -> [Float] {
        let row = unscaledDecoderRow(j)
        return (0..<sae.dIn).map { decoderTerms[j].scale * row[$0] - decoderTerms[j].along * sae.decoder[j, $0] }
    }
}
