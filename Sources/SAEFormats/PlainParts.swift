import LinearAlgebra
import SparseCoding

extension SparseAutoencoder {
    /// An SAE of one group, of parts whose shapes agree, each by the name it has in its file: W_encᵀ and W_dec [F, D].
    ///
    /// - Throws: what `fails` makes of the reason and the advice, for a part that holds NaN or infinity.
    static func made(
        encoder: (name: String, values: Matrix), encoderBias: (name: String, values: Matrix),
        decoder: (name: String, values: Matrix), decoderBias: (name: String, values: Matrix),
        _ fails: (String, String) -> SparseCodingError
    ) throws -> SparseAutoencoder {
        for part in [encoder, encoderBias, decoder, decoderBias] where !part.values.isFinite {
            throw fails("\(part.name) holds NaN or infinity", "fetch it again or use another checkpoint")
        }
        let (dSAE, dIn) = (decoder.values.rows, decoder.values.columns)
        let sae = SparseAutoencoder(dIn: dIn, layout: try PrefixLayout(groups: [dSAE]), coreIsDense: false)
        sae.encoder.assign(encoder.values)
        sae.encoderBias.assign(encoderBias.values)
        sae.decoder.assign(decoder.values)
        sae.decoderBias.assign(decoderBias.values)
        return sae
    }
}
