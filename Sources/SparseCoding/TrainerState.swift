import LinearAlgebra

/// All that decides how a training goes on from where it is: what a checkpoint holds, and nothing else. The rest of a
/// trainer is scratch, or a guess about speed.
///
/// Tensors of single precision are the SAE's four, the two moments of each and what the rule learns; of double
/// precision the moments of that. The other numbers are the step, the streak of starved ones, a count a latent, and
/// the SAE's running threshold.
package struct TrainerState {
    /// The SAE being trained; its `inference` follows the training.
    package let sae: SparseAutoencoder
    /// How many steps have been done.
    package internal(set) var step = 0
    /// How long each latent has been silent.
    var firings: Firings
    /// Steps in a row in which the core used the whole budget.
    var starvedSteps = 0
    /// Of the SAE's parameters.
    package let moments: AdamMoments
    /// What the rule learns, and its moments.
    var learned: LearnedTensors

    /// Before the first step. Decoder rows are scaled to unit norm, which every step relies on.
    package init(_ sae: SparseAutoencoder, rule: any SparsityRule, tokensSinceFired: [Int]? = nil) {
        for j in 0..<sae.dSAE { normalizeRow(sae.decoder.row(j), sae.dIn) }
        self.sae = sae
        firings = Firings(tokensSinceFired ?? [Int](repeating: 0, count: sae.dSAE))
        moments = AdamMoments(sae)
        learned = LearnedTensors(rule.learning, latents: sae.dSAE)
    }

    private init(copying other: TrainerState) {
        sae = other.sae.copy()
        step = other.step
        firings = other.firings
        starvedSteps = other.starvedSteps
        moments = other.moments.copy()
        learned = other.learned.copy()
    }

    /// Whether its moments are not all 0.
    var hasMoments: Bool { step > 0 }

    /// Numbers in `tensors` of the SAE's parameters, and of all.
    package static let parameters = 0..<4
    package static let everything = 0..<12

    /// Parameters, and moments if there are any, in one order; those of latents have a row or a column for each.
    static func tensors(
        _ sae: SparseAutoencoder, _ moments: AdamMoments? = nil
    ) -> [(matrix: Matrix, isOfLatents: Bool)] {
        ([sae] + (moments.map { [$0.first, $0.second] } ?? [])).flatMap {
            [($0.encoder, true), ($0.decoder, true), ($0.encoderBias, true), ($0.decoderBias, false)]
        }
    }

    /// The same in memory of its own: a trainer that goes on from it takes the steps that this one's would.
    package func copy() -> TrainerState { TrainerState(copying: self) }
}
