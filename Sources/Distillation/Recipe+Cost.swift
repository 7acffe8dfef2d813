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
    public func cost(without missing: String) -> CostEstimate {
        var cost = CostEstimate()
        addCounts(to: &cost, kept: 1, model: nil, step: nil)
        cost.remark("\(missing): memory, disk and time depend on its width and speed")
        return cost
    }

    /// Tokens that the model makes activations of for trainings.
    func madeTokens(live: Bool, kept: Double) -> Int {
        live ? Int(Double(allSteps) * Double(batch) / kept) : wholeContexts(harvestTokens)
    }

    /// Adds what is run through the model for trainings, and their steps.
    func addCounts(to cost: inout CostEstimate, kept: Double, model: Double?, step: Double?) {
        cost.add(
            isLive ? "model, live for \(trainings) trainings" : "model, harvest",
            madeTokens(live: isLive, kept: kept), "tokens", seconds: model)
        cost.add("\(trainings) trainings", allSteps, "steps of \(batch) rows", seconds: step)
    }
}
