/// How the threshold of inference follows a training by a rule that selects by rank: a moving average of the smallest
/// value that was selected.
struct InferenceThreshold {
    /// Follows at steps after this one.
    let start: Int
    /// What stays of the average at each step.
    let beta: Float

    init(_ plan: TrainingPlan) {
        start = plan.thresholdStart
        beta = Float(plan.thresholdBeta)
    }

    /// θ after a step that selected nothing below `least`: set outright at first, averaged later, and left as it is by
    /// a step in which nothing was selected.
    func after(step: Int, least: Float?, before: Float?) -> Float? {
        guard step > start, let least else { return before }
        guard let before else { return least }
        return beta * before + (1 - beta) * least
    }
}
