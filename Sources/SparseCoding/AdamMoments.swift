import Glibc
import Kernels
import LinearAlgebra

/// First and second moments of every parameter, and the step that uses them (Adam, arXiv:1412.6980, bias corrected).
package struct AdamMoments {
    /// First moments m, in the places of the parameters.
    package let first: SparseAutoencoder
    /// Second moments v, alike.
    package let second: SparseAutoencoder

    init(_ sae: SparseAutoencoder) {
        first = SparseAutoencoder(dIn: sae.dIn, layout: sae.layout)
        second = SparseAutoencoder(dIn: sae.dIn, layout: sae.layout)
    }

    private init(first: SparseAutoencoder, second: SparseAutoencoder) {
        self.first = first
        self.second = second
    }

    /// Gives their memory back, where there is much of it.
    func discard() {
        for matrix in [first.encoder, first.decoder, second.encoder, second.decoder] { matrix.discard() }
    }

    /// In memory of their own.
    func copy() -> AdamMoments { AdamMoments(first: first.copy(), second: second.copy()) }

    /// Moves encoder and decoder rows along clipped gradients, then scales each decoder row back to unit norm. Encoder rows
    /// below `frozen` do not move. Every latent moves, also one without gradient: its moments decay.
    func updateRows(
        _ latents: Range<Int>, of sae: SparseAutoencoder, _ gradients: ParameterGradients, _ step: AdamStep, frozen: Int
    ) {
        let d = sae.dIn
        for j in latents {
            if j >= frozen {
                kernels.adam(
                    sae.encoder.row(j), gradients.encoderRow(j), first.encoder.row(j), second.encoder.row(j), d, step)
            }
            var projected = step
            projected.gradientScale *= gradients.decoderTerms[j].scale
            projected.along = step.gradientScale * gradients.decoderTerms[j].along
            kernels.adam(
                sae.decoder.row(j), gradients.unscaledDecoderRow(j), first.decoder.row(j), second.decoder.row(j), d,
                projected)
            normalizeRow(sae.decoder.row(j), d)
        }
    }

    /// As `updateRows`, of both biases.
    func updateBiases(of sae: SparseAutoencoder, _ gradients: ParameterGradients, _ step: AdamStep) {
        kernels.adam(
            sae.encoderBias.elements, gradients.encoderBias.elements, first.encoderBias.elements,
            second.encoderBias.elements, sae.dSAE, step)
        kernels.adam(
            sae.decoderBias.elements, gradients.decoderBias.elements, first.decoderBias.elements,
            second.decoderBias.elements, sae.dIn, step)
    }
}

extension AdamStep {
    /// - Parameters:
    ///   - time: t, 1 for the first update.
    ///   - clip: multiplies the gradients.
    init(_ plan: TrainingPlan, time: Int, learningRate: Double, clip: Double) {
        let t = Double(time)
        self.init(
            beta1: Float(plan.beta1), beta2: Float(plan.beta2), epsilon: Float(plan.epsilon),
            stepSize: Float(learningRate / (1 - pow(plan.beta1, t))),
            inverseRootCorrection: Float(1 / (1 - pow(plan.beta2, t)).squareRoot()), gradientScale: Float(clip))
    }
}
