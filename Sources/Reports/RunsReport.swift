import Attribution
import Distillation
import TensorFiles

/// Several distillations side by side as one page: what is not the same in what they were made with first, then what came of them.
public struct RunsReport {
    private let runs: [(name: String, folder: String, steps: FinishedSteps)]
    private let differences: RunDifferences
    private let comparison: SweepReport
    package let evaluations: RunEvaluations

    /// Reads the folders of two runs or more, and files of evaluations besides those in them.
    ///
    /// - Parameter pooled: whether evaluations are means over runs, as of draws of one.
    /// - Throws: `TensorFileError` for a folder that is none, records that cannot be read, or evaluations of other SAEs.
    public init(folders: [String], evaluations paths: [String] = [], pooled: Bool = false) throws {
        let names = Self.names(of: folders)
        runs = try zip(names, folders).map { (name: $0, folder: $1, steps: try FinishedSteps(folder: $1)) }
        differences = RunDifferences(runs.map(\.steps.run))
        let table = SweepTable(runs: runs.map { ($0.name, $0.steps) })
        var trainings: [Int: [TrainingCurve]] = [:]
        for (point, folder) in folders.enumerated() {
            trainings[point] = try TrainingCurve.read(folder + "/events.jsonl")
        }
        comparison = SweepReport(name: names.joined(separator: ", "), table, trainings: trainings)
        evaluations = try RunEvaluations(runs, at: paths, pooled: pooled)
    }

    /// The shortest ends of paths by which they differ: "tau/a" and "k/a".
    package static func names(of folders: [String]) -> [String] {
        let parts = folders.map { $0.split(separator: "/").map(String.init) }
        func ends(_ count: Int) -> [String] { parts.map { $0.suffix(count).joined(separator: "/") } }
        let most = parts.map(\.count).max() ?? 1
        return (1...max(1, most)).lazy.map(ends).first { Set($0).count == $0.count } ?? folders
    }

    /// The page as one HTML file.
    public func html() -> String {
        let title = "Runs \(comparison.name)"
        var page = HTMLPage(title: title)
        page.begin(
            title, findings: findings,
            facts: runs.map { run in
                (run.name, "\(run.steps.run.model), \(run.steps.run.scorer), dmsae \(run.steps.run.version)")
            })
        page.section("What differs", id: "differs", differing(), note: Self.aboutDifferences)
        for direction in comparison.directions where !comparison.table.runs.isEmpty {
            page.section(
                "Over runs", id: "axis-0", comparison.content(direction),
                note:
                    "A mark is one seed, a line joins the means over seeds. Below, lines are means over seeds, bands go from the "
                    + "least to the largest.")
        }
        if !comparison.table.rows.isEmpty {
            page.section("Every SAE", id: "table", comparison.rowTable(ofRuns: true))
        }
        if let found = evaluations.html { page.section("Evaluations", id: "evaluations", found) }
        return page.html()
    }

    private static let aboutDifferences =
        "Recipe keys, what the runs were computed with, and SHA-256 of what they were made of; all else is the same."

    private var findings: [String] {
        let keys = differences.entries.map(\.name)
        let shown = keys.prefix(6).joined(separator: ", ") + (keys.count > 6 ? " and \(keys.count - 6) more" : "")
        let unfinished = comparison.table.without.flatMap(\.values)
        return [
            keys.isEmpty
                ? "Nothing differs between these runs but what chance there is in them."
                : "These runs differ in \(shown)."
        ] + (unfinished.isEmpty ? [] : ["Not finished: \(unfinished.joined(separator: ", "))."]) + [paired]
            + comparison.claims + comparison.best
    }

    /// Which seeds differences between runs are of.
    private var paired: String {
        let seeds = runs.map { Set($0.steps.seeds.map(\.seed)) }
        let common = seeds.dropFirst().reduce(seeds.first ?? []) { $0.intersection($1) }.sorted()
        guard !common.isEmpty else {
            return "No seed is in all runs, so that nothing is held against each other seed by seed."
        }
        return "Runs are held against \(runs[0].name) seed by seed, of seed\(common.count == 1 ? "" : "s") "
            + common.map(String.init).joined(separator: ", ") + "."
    }

    private func differing() -> String {
        guard !differences.entries.isEmpty else { return "<p>Nothing.</p>" }
        let rows = differences.entries.map { entry in
            [breakable(entry.name)]
                + entry.values.map { value in
                    guard let value, !value.isEmpty else { return "–" }
                    return breakable(entry.name.hasPrefix("SHA-256") ? "\(value.prefix(12))…" : value)
                }
        }
        return table(["what"] + runs.map { escape($0.name) }, rows, class: "named")
    }
}
