import Kernels
import LinearAlgebra

/// A Matryoshka sparse autoencoder: p = ReLU((x − b_dec) W_enc + b_enc), f = p where selected, x̂ = f W_dec + b_dec.
///
/// Sources: Matryoshka SAE arXiv:2503.17547, BatchTopK arXiv:2412.06410. D = d_in, F = d_sae.
public final class SparseAutoencoder: @unchecked Sendable {
    /// W_encᵀ [F, D]: one row per latent, so that a latent's encoder vector, its gradient and its moments are
    /// contiguous like its decoder row. Files hold W_enc [D, F].
    public let encoder: Matrix
    /// b_enc [1, F].
    public let encoderBias: Matrix
    /// W_dec [F, D].
    public let decoder: Matrix
    /// b_dec [1, D].
    public let decoderBias: Matrix
    /// Groups and core.
    public let layout: PrefixLayout
    /// Whether core latents are kept wherever p > 0, exempt from selection.
    public var coreIsDense: Bool
    /// How it is used at inference; nil while nothing has set it.
    public var inference: InferenceForm?
    /// Whether b_dec is subtracted from the input before encoding.
    public var subtractsDecoderBias = true

    /// An SAE of zero parameters.
    public init(dIn: Int, layout: PrefixLayout, coreIsDense: Bool = true) {
        self.layout = layout
        self.coreIsDense = coreIsDense
        encoder = Matrix(rows: layout.latentCount, columns: dIn)
        encoderBias = Matrix(rows: 1, columns: layout.latentCount)
        decoder = Matrix(rows: layout.latentCount, columns: dIn)
        decoderBias = Matrix(rows: 1, columns: dIn)
    }

    /// D, the width of the residual stream.
    public var dIn: Int { decoder.columns }

    /// F, the number of latents.
    public var dSAE: Int { decoder.rows }

    /// Core latents that are exempt from selection: 0..<c for a dense core, none otherwise.
    public var exemptCore: Range<Int> { coreIsDense ? 0..<layout.coreCount : 0..<0 }

    /// Draws parameters: decoder rows ~ U(−√(6/D), √(6/D)) scaled to unit norm, W_enc = W_decᵀ, biases 0.
    ///
    /// With a frozen core its encoder vectors replace the first c; `coreDecoder` says what its decoder rows are, and `coreBias`
    /// [1, c], where it is given, is its b_enc.
    public func initialize(
        seed: UInt64, core: Matrix? = nil, coreDecoder: CoreDecoderStart = .random, coreBias: Matrix? = nil
    ) {
        let bound = (6 / Float(dIn)).squareRoot()
        let random = CounterRandom(seed: seed, purpose: .decoderInitialization)
        for j in 0..<dSAE {
            random.fill(
                UnsafeMutableBufferPointer(start: decoder.row(j), count: dIn), from: -bound, to: bound,
                at: j * dIn)
        }
        for j in 0..<dSAE { normalizeRow(decoder.row(j), dIn) }
        encoder.assign(decoder)
        encoderBias.fill(0)
        decoderBias.fill(0)
        inference = nil
        guard let core else { return }
        replaceCoreEncoder(core)
        if let coreBias { encoderBias.elements.update(from: coreBias.elements, count: core.rows) }
        guard coreDecoder == .encoder else { return }
        for j in 0..<core.rows {
            decoder.row(j).update(from: core.row(j), count: dIn)
            normalizeRow(decoder.row(j), dIn)
        }
    }

    /// Puts in the place of the latents outside of the core, and of b_dec, those of a trained SAE that reads raw activations, without
    /// `selected`, which are as many as the core: in their order, so that most stay in their group. `inputScale` is what activations
    /// are divided by from here on.
    public func continueNonCore(of last: SparseAutoencoder, except selected: [Int], inputScale s: Float) {
        precondition(
            last.dIn == dIn && last.dSAE == dSAE && Set(selected).count == layout.coreCount, "an SAE of another shape")
        let left = Set(0..<dSAE).subtracting(selected).sorted()
        for (j, source) in zip(layout.coreCount..<dSAE, left) {
            encoder.row(j).update(from: last.encoder.row(source), count: dIn)
            decoder.row(j).update(from: last.decoder.row(source), count: dIn)
            encoderBias[j] = last.encoderBias[source] / s
        }
        for i in 0..<dIn { decoderBias[i] = last.decoderBias[i] / s }
    }

    /// Overwrites the encoder vectors of the first latents, norms kept.
    public func replaceCoreEncoder(_ core: Matrix) {
        precondition(core.rows == layout.coreCount && core.columns == dIn, "core of \(core.rows) × \(core.columns)")
        encoder.elements.update(from: core.elements, count: core.count)
    }

    /// Multiplies the SAE by the input scale it was trained under, so that it reads raw activations:
    /// f(s·x) = s·f(x) needs b_enc, b_dec and the thresholds times s.
    public func fold(inputScale s: Float) {
        for i in 0..<encoderBias.count { encoderBias[i] *= s }
        for i in 0..<decoderBias.count { decoderBias[i] *= s }
        inference = inference?.scaled(by: s)
    }

    /// A copy in memory of its own, the form in which it is used included; of as many latents in other groups or with
    /// another core, if that is asked for.
    public func copy(layout other: PrefixLayout? = nil, coreIsDense isDense: Bool? = nil) -> SparseAutoencoder {
        precondition(other == nil || other?.latentCount == dSAE, "a layout of another width")
        let result = SparseAutoencoder(
            dIn: dIn, layout: other ?? layout, coreIsDense: isDense ?? coreIsDense)
        result.encoder.assign(encoder)
        result.encoderBias.assign(encoderBias)
        result.decoder.assign(decoder)
        result.decoderBias.assign(decoderBias)
        result.inference = inference
        result.subtractsDecoderBias = subtractsDecoderBias
        return result
    }
}

/// How core latents are selected.
public enum CoreMode: String, Sendable, Codable, CaseIterable {
    /// Kept wherever p > 0 (the paper's, while distilling).
    case dense
    /// They compete like the others (the paper's appendix E).
    case sparse
}

/// How the latents outside of a core start.
public enum NonCoreStart: String, Sendable, Codable, CaseIterable {
    /// Drawn from the seed.
    case fresh
    /// As those of the last cycle's SAE that were not selected.
    case warm
}

/// How b_enc of a frozen core starts.
public enum CoreBiasStart: String, Sendable, Codable, CaseIterable {
    /// At 0: nothing but the encoder vector carries over (the paper's).
    case fresh
    /// As it was where the core was selected. b_dec is another there, so that activations are not those of then.
    case transfer
}

/// How the decoder rows of a frozen core start.
public enum CoreDecoderStart: String, Sendable, Codable, CaseIterable {
    /// As random unit rows: nothing but the encoder vector carries over (the paper's).
    case random
    /// As the encoder vector, scaled to unit norm. A short run needs it: while a random row is learnt, Adam lowers the
    /// latent's bias at the same rate, and a core latent that stops firing gets no gradient that would bring it back.
    case encoder
}

/// Scales a row to unit norm; the norm's ε is the reference trainer's (float32 epsilon).
func normalizeRow(_ row: UnsafeMutablePointer<Float>, _ count: Int) {
    let norm = kernels.dot(row, row, count).squareRoot()
    kernels.scale(row, 1 / (norm + Float.ulpOfOne), count)
}
