import SparseCoding

extension Recipe {
    /// SAEs that a run trains: of its cycles and of its trials, with every seed.
    public var trainings: Int { seeds * ((cycle0 == nil ? 1 : 0) + cycles + trialPlans.count) }

    /// Steps of all of them.
    private var allSteps: Int {
        seeds
            * (((cycle0 == nil ? 1 : 0) + cycles) * resolvedCycleSteps
                + trialPlans.reduce(0) { $0 + $1.plan.tokens / batch })
    }

    /// What can be told without the model, which is not there.
    ///
    /// - Parameter together: how many live trainings are asked to be side by side; nil where memory would decide.
    public func cost(without missing: String, together: Int?) -> CostEstimate {
        var cost = CostEstimate()
        addCounts(to: &cost, kept: 1, together: isLive ? together ?? 1 : 1, model: nil, step: nil)
        if isLive && together == nil {
            cost.remark(
                "trainings that memory has room for side by side share the model's tokens; --together N counts so")
        }
        cost.remark("\(missing): memory, disk and time depend on its width and speed")
        return cost
    }

    /// Steps that the model makes rows for, of live trainings of which so many are side by side: of each part of them the longest.
    private func liveSteps(together: Int) -> Int {
        let trained = (cycle0 == nil ? 1 : 0) + cycles
        let finals = Array(repeating: trialPlans.map { $0.plan.tokens / batch }, count: seeds).flatMap { $0 }
        return trained * ((seeds + together - 1) / together) * resolvedCycleSteps
            + finals.parts(of: together).reduce(0) { $0 + ($1.max() ?? 0) }
    }

    /// Tokens that the model makes activations of for trainings.
    func madeTokens(live: Bool, kept: Double, together: Int = 1) -> Int {
        live ? Int(Double(liveSteps(together: together)) * Double(batch) / kept) : wholeContexts(harvestTokens)
    }

    /// Adds what is run through the model for trainings, and their steps.
    func addCounts(to cost: inout CostEstimate, kept: Double, together: Int, model: Double?, step: Double?) {
        cost.add(
            isLive ? "model, live for \(trainings) trainings" : "model, harvest",
            madeTokens(live: isLive, kept: kept, together: together), "tokens", seconds: model)
        cost.add("\(trainings) trainings", allSteps, "steps of \(batch) rows", seconds: step)
    }
}
