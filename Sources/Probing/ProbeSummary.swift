import Attribution

/// What probes of several tasks come to: means over tasks, and whether a core's latents do better than as many others.
package struct ProbeSummary: Codable, Sendable {
    /// The area under the ROC curve on test rows, the mean over tasks and its 95% interval by Student's t over tasks.
    package struct Mean: Codable, Sendable {
        /// "dense", or the name of a set; of random sets, "random of POOL for SET", the mean over draws first.
        package var set: String
        package var k: Int
        package var tasks: Int
        package var test_auc: Interval
    }

    /// Of a set less that of its controls, task by task.
    package struct Difference: Codable, Sendable {
        package var set: String
        /// Where random controls are drawn from, or "most frequent".
        package var from: String
        package var k: Int
        package var draws: Int
        package var tasks: Int
        package var test_auc: Interval
        /// In how many tasks the set does better than the mean of its controls.
        package var better_tasks: Int
    }

    /// One task: areas by set and k.
    package struct Task: Codable, Sendable {
        package var task: String
        package var train: Int
        package var dense: Double
        /// By name of the set, and by k.
        package var sets: [String: [String: Double]]
    }

    /// Its name in the folder of an evaluation.
    package static let fileName = "probes.json"
    /// How a folder beside it begins that sae-probes has, too.
    package static let baselineFolder = "baseline_results_"

    /// Everything that the numbers depend on.
    package var settings: [String: String]
    package var means: [Mean]
    package var differences: [Difference]
    package var tasks: [Task]

    /// Sums up tasks that were probed with the same sets.
    package init(_ tasks: [ProbedTask], sets: [ProbedLatents], settings: [String: String]) {
        self.settings = settings
        self.tasks = tasks.map { task in
            let areas = zip(sets, task.sets).map { set, probes in
                (set.name, Dictionary(probes.map { ("\($0.latents.count)", $0.probe.test_auc) }) { first, _ in first })
            }
            return Task(
                task: task.name, train: task.trainCount, dense: task.dense.test_auc,
                sets: Dictionary(uniqueKeysWithValues: areas))
        }
        // [set name, k] areas, task by task; of controls the mean over draws.
        let groups = ProbedLatents.groups(sets)
        func areas(_ members: [Int], _ place: Int) -> [Double] {
            tasks.map { task in members.reduce(0.0) { $0 + task.sets[$1][place].probe.test_auc } / Double(members.count)
            }
        }
        means = [Mean(set: "dense", k: 0, tasks: tasks.count, test_auc: Interval(meanOf: tasks.map(\.dense.test_auc)))]
        differences = []
        guard let first = tasks.first else { return }
        for group in groups {
            for (place, probe) in first.sets[group.members[0]].enumerated() {
                means.append(
                    Mean(
                        set: group.name, k: probe.latents.count, tasks: tasks.count,
                        test_auc: Interval(meanOf: areas(group.members, place))))
            }
            guard let control = sets[group.members[0]].control,
                let set = sets.firstIndex(where: { $0.name == control.of })
            else { continue }
            for (place, probe) in first.sets[set].enumerated() where place < first.sets[group.members[0]].count {
                let changes = zip(areas([set], place), areas(group.members, place)).map { $0 - $1 }
                differences.append(
                    Difference(
                        set: control.of, from: control.from, k: probe.latents.count, draws: group.members.count,
                        tasks: tasks.count, test_auc: Interval(meanOf: changes), better_tasks: changes.count { $0 > 0 })
                )
            }
        }
    }
}
