import Distillation
import TensorFiles

/// A sweep as one page: measures over each swept key, every seed shown, and all numbers in a table.
public struct SweepReport {
    let name: String
    let table: SweepTable
    /// Of each point whose cycles are shown.
    let trainings: [Int: [TrainingCurve]]
    /// What the sweep is of.
    private let recipe: [(name: String, value: String)]

    /// Reads the folder of a sweep; points that are not done are said to be missing.
    ///
    /// - Throws: as `SweepTable`; `TensorFileError` for a log that cannot be read.
    public init(folder: String) throws {
        name = lastComponent(folder)
        table = try SweepTable(folder: folder)
        let sweep = try Sweep(folder: folder)
        recipe =
            [("recipe", sweep.name)] + sweep.axes.map { ($0.key, $0.values.joined(separator: ", ")) }
            + (sweep.assignments.isEmpty ? [] : [("set", sweep.assignments.joined(separator: " "))])
        trainings = try table.runs.reduce(into: [:]) { all, run in
            all[run.point] = try TrainingCurve.read("\(folder)/\(SweepPoint.folder(run.point))/events.jsonl")
        }
    }

    /// Of runs as points of a table, with their trainings by point.
    init(name: String, _ table: SweepTable, trainings: [Int: [TrainingCurve]]) {
        (self.name, self.table, self.trainings, recipe) = (name, table, trainings, [])
    }

    /// The page as one HTML file.
    public func html() -> String {
        var page = HTMLPage(title: "Sweep \(name)")
        page.begin("Sweep \(name)", findings: findings, facts: recipe)
        for direction in directions where !table.runs.isEmpty {
            page.section(
                direction.axis == nil ? "All points" : "Over \(direction.key)", id: "axis-\(direction.axis ?? 0)",
                content(direction),
                note: direction.axis.map { note(over: $0) }
                    ?? "Lines are means over runs, bands go from the least to the largest.")
        }
        if !table.rows.isEmpty { page.section("Every SAE", id: "table", rowTable()) }
        if !table.without.isEmpty { page.section("Points without a result", id: "missing", missingTable()) }
        return page.html()
    }

    /// All that is shown along one direction.
    func content(_ direction: SweepDirection) -> String {
        (direction.axis.map { figures(over: $0, direction) } ?? "") + differences(direction) + steps(direction)
            + cycles(direction) + origins(direction) + training(direction)
    }

    /// Every swept key but the seed, which is no direction to look along; all points where there is no other.
    var directions: [SweepDirection] {
        let drawn = table.axes.indices.filter(isDrawn)
        return drawn.isEmpty
            ? [SweepDirection(table, axis: nil)] : drawn.map { SweepDirection(table, axis: $0) }
    }

    /// The first with the distilled core; the first of all where none has it.
    var mainTrial: String? { (table.rows.first { $0.core == "distilled" } ?? table.rows.first)?.trial }

    private var findings: [String] {
        let count = table.count, failed = table.without.count { $0.error != nil }
        let done = count - table.without.count
        return ["\(done) of \(count) points are done" + (failed > 0 ? ", \(failed) failed." : ".")] + claims + best
    }

    /// The best of the main trial, and where.
    var best: [String] {
        [SweepMeasure.score, .explainedVariance].compactMap { measure in
            let own = table.rows.filter { $0.trial == mainTrial }
            guard let best = own.max(by: { ($0.measures[measure] ?? -1) < ($1.measures[measure] ?? -1) }),
                let value = best.measures[measure]
            else { return nil }
            return "The largest \(measure.title) of a \(best.trial) is \(short(value)), at \(place(best))."
        }
    }

    /// Where a row stands: "distill.tau 0.5, seed 1".
    private func place(_ row: SweepTable.Row) -> String {
        zip(table.axes, row.values).map { "\($0.key) \($1)" }.joined(separator: ", ")
    }

    /// A trial, with its k where there are several and the direction does not say which.
    func name(_ trial: String, k: Double, _ direction: SweepDirection) -> String {
        guard Set(table.rows.map(\.k)).count > 1, !direction.isAlongK else { return trial }
        return "\(trial), k \(short(k, k == k.rounded() ? 0 : 1))"
    }

    // MARK: Figures

    private static let drawn: [SweepMeasure] = [
        .score, .explainedVariance, .coreL0, .frozenCore, .lastCoreSize, .carriedOver, .jaccard, .deadLatents,
    ]
    /// More curves than these nobody tells apart.
    private static let mostCurves = 8

    /// Seeds are points, not a direction to look along.
    private func isDrawn(_ axis: Int) -> Bool {
        table.axes[axis].values.count > 1 && table.axes[axis].key != "seed" && !table.runs.isEmpty
    }

    /// What a row belongs to besides its place on the axis: the SAE it is of, its k where there are several, and the other keys.
    private func group(_ row: SweepTable.Row, over axis: Int, apart: Bool, trial: Bool) -> String {
        var parts = trial ? [row.trial] : []
        if trial && Set(table.rows.map(\.k)).count > 1 && !isSwept("final.k") && !isSwept("train.k") {
            parts.append("k \(short(row.k, row.k == row.k.rounded() ? 0 : 1))")
        }
        if apart {
            for other in table.axes.indices where other != axis && isDrawn(other) {
                parts.append("\(table.axes[other].key) \(row.values[other])")
            }
        }
        return parts.isEmpty ? "all points" : parts.joined(separator: ", ")
    }

    private func isSwept(_ key: String) -> Bool { table.axes.contains { $0.key == key } }

    private func groups(over axis: Int, apart: Bool, trial: Bool) -> [String] {
        table.rows.map { group($0, over: axis, apart: apart, trial: trial) }.distinct
    }

    private func isApart(_ axis: Int) -> Bool { groups(over: axis, apart: true, trial: true).count <= Self.mostCurves }

    private func note(over axis: Int) -> String {
        let others = table.axes.indices.filter { $0 != axis && isDrawn($0) }.map { table.axes[$0].key }
        return "A mark is one run, a line joins the means"
            + (isApart(axis) || others.isEmpty ? " over seeds." : " over seeds and \(others.joined(separator: ", ")).")
            + " Below, lines are means over seeds" + (others.isEmpty ? "" : " and \(others.joined(separator: ", "))")
            + ", bands go from the least to the largest."
    }

    /// Where the values of an axis lie: as numbers, or one after the other.
    private func positions(_ direction: SweepDirection) -> [String: Double] {
        Dictionary(zip(direction.values, direction.numbers ?? direction.values.indices.map(Double.init))) { $1 }
    }

    private func figures(over axis: Int, _ direction: SweepDirection) -> String {
        let apart = isApart(axis)
        func drawn(_ measures: [SweepMeasure], trial: Bool) -> String {
            let names = groups(over: axis, apart: apart, trial: trial)
            let figures = measures.compactMap {
                figure(of: $0, over: axis, direction, names, apart: apart, trial: trial)
            }
            return figures.isEmpty
                ? "" : legend(names) + "<div class=\"grid\">" + figures.joined() + "</div>"
        }
        return drawn(Self.drawn.filter { !$0.isOfCycles }, trial: true)
            + drawn(Self.drawn.filter(\.isOfCycles), trial: false)
    }

    private func figure(
        of measure: SweepMeasure, over axis: Int, _ direction: SweepDirection, _ names: [String], apart: Bool,
        trial: Bool
    ) -> String? {
        let key = direction.key, places = positions(direction)
        var (curves, marks) = ([Plot.Curve](), [Plot.Mark]())
        for (i, name) in names.enumerated() {
            var rows = table.rows.filter { group($0, over: axis, apart: apart, trial: trial) == name }
            if !trial {
                // The same for all SAEs of a point.
                var seen: Set<Int> = []
                rows = rows.filter { seen.insert($0.point).inserted }
            }
            let points = rows.compactMap { row in
                row.measures[measure].flatMap { value in places[row.values[axis]].map { (x: $0, y: value) } }
            }
            var means = Plot.Curve(Series(i), meanOf: [points])
            means.band = []
            curves.append(means)
            marks += points.map { Plot.Mark(series: Series(i), x: $0.x, y: $0.y, name: "") }
        }
        guard !marks.isEmpty else { return nil }
        var plot = Plot(
            x: direction.numbers == nil
                ? Axis(title: key, names: direction.names) : Axis(title: key, range: range(marks.map(\.x))),
            y: Axis(title: measure.title, range: range(marks.map(\.y))))
        // Values that double from one to the next, as widths and k are chosen, are read on a log axis.
        if let least = direction.numbers?.min(), let most = direction.numbers?.max(), least > 0, most / least >= 8 {
            plot.x = Axis(title: key, scale: .log, range: logRange(marks.map(\.x)))
        }
        if measure.isCount {
            plot.y.isWhole = true
            let limits = plot.y.range
            plot.y.range = min(limits.lowerBound, marks[0].y - 1)...max(limits.upperBound, marks[0].y + 1)
        }
        (plot.curves, plot.marks) = (curves, marks)
        return Reports.figure(
            plot.svg(label: "\(measure.title) over \(key)", names: names, id: "plot-\(axis)-\(measure.rawValue)"),
            "\(measure.title) over \(key)")
    }

    // MARK: Tables

    /// What fits on paper; sweep.csv has the rest.
    private static let listed: [SweepMeasure] = [
        .score, .explainedVariance, .L0, .coreL0, .frozenCore, .deadLatents, .jaccard,
    ]

    /// Points have numbers and a seed among their keys; runs have neither.
    func rowTable(ofRuns isOfRuns: Bool = false) -> String {
        let heads =
            (isOfRuns ? [] : ["point"]) + table.axes.map { escape($0.key) } + (isOfRuns ? ["seed"] : []) + ["SAE", "k"]
            + Self.listed.map { escape($0.short) }
        let rows = table.rows.map { row in
            (isOfRuns ? [] : ["\(row.point)"]) + row.values.map { escape($0) } + (isOfRuns ? ["\(row.seed)"] : []) + [
                escape(row.trial), short(row.k, row.k == row.k.rounded() ? 0 : 1),
            ]
                + Self.listed.map { measure in
                    guard let value = row.measures[measure] else { return "–" }
                    return value == value.rounded() && abs(value) < 1e7 ? "\(Int(value))" : short(value)
                }
        }
        return Reports.table(heads, rows)
    }

    private func missingTable() -> String {
        Reports.table(
            ["point"] + table.axes.map { escape($0.key) } + ["why"],
            table.without.map { point, values, error in
                ["\(point)"] + values.map { escape($0) } + [escape(error ?? "not done yet")]
            })
    }
}
