/// What is not the same in the recipes, inputs and surroundings of several runs.
public struct RunDifferences: Sendable {
    /// One of them: its name, and what each run has of it; nil for a run that has nothing of that name.
    public struct Entry: Sendable, Equatable {
        public let name: String
        public let values: [String?]
    }

    /// Recipe keys first, then what the runs were computed with, and the hashes of what they were made of.
    public let entries: [Entry]

    /// Of runs by their records.
    public init(_ runs: [RunRecord]) {
        let all = runs.map { run in
            // Which final SAEs there are may change within a run, so causes leave it out.
            let trials = RunRecord.changeableKeys.sorted().compactMap { key in run.recipe[key].map { (key, $0) } }
            // Seeds of trainings follow from the recipe's.
            let derived = run.seeds.map(String.init).joined(separator: " ")
            let causes = run.causes.filter { $0.name != "seeds" || $0.value != derived }
            return trials + causes.map { ($0.name, $0.value) } + [("the model's name", run.model)]
        }
        let values = all.map { Dictionary($0) { first, _ in first } }
        var seen: Set<String> = []
        entries = all.joined().map(\.0).filter { seen.insert($0).inserted }.compactMap { name in
            let own = values.map { $0[name] }
            return Set(own).count > 1 ? Entry(name: name, values: own) : nil
        }
    }
}
