/// What one training step did; every number is before the update.
public struct StepRecord: Sendable, Codable, Equatable {
    /// Counted from 0.
    public var step: Int
    /// L = L_rec + α L_aux.
    public var loss: Double
    /// MSE_i = mean_b ‖x − x̂_i‖², per prefix, unweighted.
    public var prefixLosses: [Double]
    /// L_aux, 0 without dead latents.
    public var auxiliaryLoss: Double
    /// lr of this step.
    public var learningRate: Double
    /// ‖gradients‖ after projection, before the clip.
    public var gradientNorm: Double
    /// Mean active latents of the core per token.
    public var meanActiveCore: Double
    /// Mean active latents outside the core per token.
    public var meanActiveNonCore: Double
    /// Dead latents that the auxiliary loss may revive.
    public var deadCount: Int
    /// The smallest value the rule selected, nil if none.
    public var leastSelected: Float?
    /// The inference threshold after this step, nil while unset.
    public var threshold: Float?
    /// What the rule added to the loss, nil for a rule that learns nothing.
    public var penalty: Double?
}
