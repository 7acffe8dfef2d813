import TensorFiles

/// What a sweep has to do, and what it need not since points share it.
public struct SweepWork: Sendable {
    /// Of one point: trainings with their steps, by the name under which they are logged.
    public struct Training: Sendable, Equatable {
        public let name: String
        public let steps: Int
    }

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

    /// Trainings that a point makes itself; those of shared steps are the first point's.
    public func trainings(of point: SweepPoint) -> [Training] {
        let recipe = point.recipe
        let cycles = (0...max(0, recipe.cycles)).filter { t in
            isMade(.cycles, by: point) && (t > 0 || isMade(.firstTraining, by: point))
                && (t > 0 || recipe.cycle0 == nil)
        }
        return cycles.map { Training(name: "cycle-\($0)", steps: recipe.resolvedCycleSteps) }
            + recipe.trialPlans.map { Training(name: $0.plan.folder, steps: recipe.steps(of: $0.trial)) }
    }

    /// Bytes on disk, roughly: activations once for each store, weights of every SAE once.
    public func bytes(dIn: Int) -> Int {
        points.reduce(0) { sum, point in
            let recipe = point.recipe
            let own = SweepPoint(index: point.index, values: [], recipe: recipe)
            let trainings = trainings(of: own).count
            let sae = (2 * recipe.width * dIn + recipe.width + dIn) * MemoryLayout<Float>.stride
            return sum + (isMade(.harvest, by: own) ? recipe.harvestTokens * dIn * MemoryLayout<Float>.stride : 0)
                + trainings * sae
        }
    }
}

/// Steps that a run has logged, by training.
public struct LoggedSteps: Sendable {
    private struct Event: Decodable {
        var event: String
        var run: String?
        var record: Record?
        struct Record: Decodable { var step: Int? }
    }

    /// Steps of a training that are done, as far as the log of the run in `folder` tells.
    public static func read(_ folder: String) -> [String: Int] {
        guard let text = try? readText(folder + "/events.jsonl", most: 1 << 28) else { return [:] }
        var steps: [String: Int] = [:]
        for line in text.split(separator: "\n") where line.hasPrefix(#"{"event":"step""#) {
            guard let event = try? JSONRecord.decode(Event.self, from: String(line), in: folder), let run = event.run,
                let step = event.record?.step
            else { continue }
            steps[run] = step + 1
        }
        return steps
    }
}
