import TensorFiles

/// What a sweep has to do, and what it need not since points share it.
public struct SweepWork: Sendable {
    private let points: [(index: Int, recipe: Recipe)]
    /// Points that agree in all that a step depends on, by step and key, in ascending order.
    private let groups: [SharedStep: [String: [Int]]]
    /// Runs of other sweeps, which may have done some of it.
    private let others: [(folder: String, recipe: Recipe)]

    public init(_ points: [SweepPoint], others: [(folder: String, recipe: Recipe)] = []) {
        self.points = points.map { ($0.index, $0.recipe) }
        self.others = others
        var groups: [SharedStep: [String: [Int]]] = [:]
        for step in SharedStep.allCases {
            for point in points {
                groups[step, default: [:]][step.key(of: point.recipe), default: []].append(point.index)
            }
        }
        self.groups = groups
    }

    /// How often a step is made.
    public func count(_ step: SharedStep) -> Int {
        points.count { isMade(step, by: SweepPoint(index: $0.index, values: [], recipe: $0.recipe)) }
    }

    /// The points, itself among them, that a step of a point is the same for.
    public func sharing(_ step: SharedStep, with recipe: Recipe) -> [Int] {
        groups[step]?[step.key(of: recipe)] ?? []
    }

    /// For each step of a point, the folder of the first other run that has done it: one of this sweep, or of another.
    public func donors(of point: SweepPoint, in folder: String) -> [SharedStep: String] {
        var donors: [SharedStep: String] = [:]
        for step in SharedStep.allCases {
            donors[step] =
                sharing(step, with: point.recipe).filter { $0 != point.index }
                .map { folder + "/" + SweepPoint.folder($0) }
                .first { exists(step.mark(in: $0)) }
                ?? elsewhere(step, as: point.recipe)
        }
        return donors
    }

    /// The folder of a run of another sweep that has done a step; nil if none has.
    private func elsewhere(_ step: SharedStep, as recipe: Recipe) -> String? {
        guard !others.isEmpty else { return nil }
        let key = step.key(of: recipe)
        return others.first { other in
            exists(step.mark(in: other.folder)) && step.key(of: other.recipe) == key
        }?.folder
    }

    /// Whether nothing that a point could take over is being made by a point that runs.
    public func isReady(_ point: SweepPoint, running: Set<Int>, in folder: String) -> Bool {
        SharedStep.allCases.allSatisfy { step in
            let others = sharing(step, with: point.recipe)
            return running.isDisjoint(with: others)
                || others.contains {
                    exists(step.mark(in: folder + "/" + SweepPoint.folder($0)))
                }
        }
    }

    /// Whether a point has to make a step: it is the first of those that share it, and no other sweep has it.
    func isMade(_ step: SharedStep, by point: SweepPoint) -> Bool {
        sharing(step, with: point.recipe).first == point.index && elsewhere(step, as: point.recipe) == nil
    }

    /// Parts that a point makes itself, in their order; those of shared steps are the first point's.
    public func parts(of point: SweepPoint) -> [SweepPart] {
        let recipe = point.recipe
        var parts: [SweepPart] = []
        if !recipe.isLive, isMade(.harvest, by: point) {
            var harvest = SweepPart(name: "store", mark: SharedStep.harvest.mark(in: ""), endsWith: nil)
            harvest.harvested = recipe.wholeContexts(recipe.harvestTokens)
            parts.append(harvest)
        }
        func sae(_ name: String, steps: Int, k: Double, in folder: String, _ end: SharedStep?) -> SweepPart {
            var part = SweepPart(name: name, mark: "/" + folder + "/" + StepMark.name, endsWith: end)
            (part.steps, part.k, part.evaluated) = (steps, k, recipe.wholeContexts(recipe.evaluationTokens))
            return part
        }
        for t in 0...max(0, recipe.cycles) {
            let name = "cycle-\(t)", last = t == 0 ? SharedStep.firstCycle : .cycles
            if isMade(t == 0 ? .firstTraining : .cycles, by: point) {
                let steps = t == 0 && recipe.cycle0 != nil ? 0 : recipe.resolvedCycleSteps
                parts.append(sae(name, steps: steps, k: recipe.k, in: name + "/sae", last))
            }
            guard isMade(last, by: point) else { continue }
            var scoring = SweepPart(name: name + ", scores", mark: "/" + name + "/" + StepMark.name, endsWith: last)
            scoring.scored = recipe.wholeContexts(recipe.scoreTokens)
            parts.append(scoring)
        }
        return parts
            + recipe.trialPlans.map { trial, plan in
                sae(plan.folder, steps: recipe.steps(of: trial), k: plan.k, in: plan.folder, nil)
            }
    }

    /// Names of SAEs that a point trains itself.
    public func trainings(of point: SweepPoint) -> [String] { parts(of: point).filter { $0.steps > 0 }.map(\.name) }
}
