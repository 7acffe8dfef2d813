/// Holds the share of tokens on which each latent of a dense core fires. Nothing else limits it: such a latent is exempt from
/// selection, the loss only gains by its firing, and it becomes a direction that is always on.
///
/// After every step b_j ← b_j + γ_j (r − n_j / B), where n_j of the batch's B tokens made latent j fire: stochastic approximation
/// (Robbins and Monro, 1951) of the bias at which ⟨x − b_dec, w_j⟩ + b_j is positive on a share r of tokens. Adam's changes of these
/// biases are overwritten. γ_j = ‖w_j‖ / √D is the standard deviation of ⟨x, w_j⟩ for an isotropic x of unit mean square norm, as
/// trainings see it: a step moves the rate by at most .4 of what is missing, so it cannot swing, and real activations, which vary more
/// along what latents look at, only take longer.
struct CoreRate: Equatable {
    /// r, in (0, 1).
    let target: Double
    /// [c] b_enc of the core.
    private(set) var biases: [Float]
    /// [c] γ.
    private let gains: [Double]

    /// Nil for a training without a rate, or without a dense core.
    init?(_ plan: TrainingPlan, _ sae: SparseAutoencoder) {
        guard let rate = plan.coreRate, !sae.exemptCore.isEmpty else { return nil }
        target = rate
        biases = sae.exemptCore.map { sae.encoderBias[$0] }
        gains = sae.exemptCore.map { j in
            let square = (0..<sae.dIn).reduce(0.0) { $0 + Double(sae.encoder[j, $1]) * Double(sae.encoder[j, $1]) }
            return (square / Double(sae.dIn)).squareRoot()
        }
    }

    /// Takes in a batch of `rows` tokens, on `active` [F] of which each latent fired.
    mutating func follow(_ active: [Int32], rows: Int) {
        for j in biases.indices {
            let missing = target - Double(active[j]) / Double(rows)
            biases[j] = Float(Double(biases[j]) + gains[j] * missing)
        }
    }
}
