import Distillation
import TensorFiles

/// A sweep as one page: measures over each swept key, every seed shown, and all numbers in a table.
public struct SweepReport {
    let name: String
    let table: SweepTable

    /// Reads the folder of a sweep; points that are not done are said to be missing.
    ///
    /// - Throws: as `SweepTable`.
    public init(folder: String) throws {
        name = lastComponent(folder)
        table = try SweepTable(folder: folder)
    }

    /// The page as one HTML file.
    public func html() -> String {
        var page = HTMLPage(title: "Sweep \(name)")
        page.begin("Sweep \(name)", findings: findings, facts: facts)
        for axis in table.sweep.axes.indices where isDrawn(axis) {
            page.section(
                "Over \(table.sweep.axes[axis].key)", id: "axis-\(axis)", figures(over: axis), note: note(over: axis))
        }
        if !table.rows.isEmpty { page.section("Every SAE", id: "table", rowTable()) }
        if !table.without.isEmpty { page.section("Points without a result", id: "missing", missingTable()) }
        return page.html()
    }

    private var findings: [String] {
        let count = table.sweep.count, failed = table.without.count { $0.error != nil }
        let done = count - table.without.count
        var sentences = ["\(done) of \(count) points are done" + (failed > 0 ? ", \(failed) failed." : ".")]
        let trials = trials.filter { $0 != table.rows.first?.trial }
        for measure in [SweepMeasure.score, .explainedVariance] {
            let own = table.rows.filter { $0.trial == table.rows.first?.trial }
            guard let best = own.max(by: { ($0.measures[measure] ?? -1) < ($1.measures[measure] ?? -1) }),
                let value = best.measures[measure]
            else { continue }
            let others = trials.compactMap { trial in
                table.rows.first { $0.point == best.point && $0.k == best.k && $0.trial == trial }
                    .flatMap { $0.measures[measure] }.map { "\(trial) \(short($0))" }
            }
            sentences.append(
                "The largest \(measure.title) of a \(best.trial) is \(short(value)), at \(place(best))"
                    + (others.isEmpty ? "." : " (there \(others.joined(separator: ", ")))."))
        }
        return sentences
    }

    private var facts: [(name: String, value: String)] {
        [("recipe", table.sweep.name)] + table.sweep.axes.map { ($0.key, $0.values.joined(separator: ", ")) }
            + (table.sweep.assignments.isEmpty ? [] : [("set", table.sweep.assignments.joined(separator: " "))])
    }

    /// Where a row stands: "distill.tau 0.5, seed 1".
    private func place(_ row: SweepTable.Row) -> String {
        zip(table.sweep.axes, row.values).map { "\($0.key) \($1)" }.joined(separator: ", ")
    }

    private var trials: [String] { Self.distinct(table.rows.map(\.trial)) }

    private static func distinct<Value: Hashable>(_ values: [Value]) -> [Value] {
        var seen: Set<Value> = []
        return values.filter { seen.insert($0).inserted }
    }

    // MARK: Figures

    private static let drawn: [SweepMeasure] = [
        .score, .explainedVariance, .coreL0, .frozenCore, .lastCoreSize, .carriedOver, .jaccard, .deadLatents,
    ]
    /// More curves than these nobody tells apart.
    private static let mostCurves = 8

    /// Seeds are points, not a direction to look along.
    private func isDrawn(_ axis: Int) -> Bool {
        table.sweep.axes[axis].values.count > 1 && table.sweep.axes[axis].key != "seed" && !table.rows.isEmpty
    }

    /// What a row belongs to besides its place on the axis: the SAE it is of, its k where there are several, and the other keys.
    private func group(_ row: SweepTable.Row, over axis: Int, apart: Bool, trial: Bool) -> String {
        var parts = trial ? [row.trial] : []
        if trial && Set(table.rows.map(\.k)).count > 1 && !isSwept("final.k") && !isSwept("train.k") {
            parts.append("k \(short(row.k, row.k == row.k.rounded() ? 0 : 1))")
        }
        if apart {
            for other in table.sweep.axes.indices where other != axis && isDrawn(other) {
                parts.append("\(table.sweep.axes[other].key) \(row.values[other])")
            }
        }
        return parts.isEmpty ? "all points" : parts.joined(separator: ", ")
    }

    private func isSwept(_ key: String) -> Bool { table.sweep.axes.contains { $0.key == key } }

    private func groups(over axis: Int, apart: Bool, trial: Bool) -> [String] {
        Self.distinct(table.rows.map { group($0, over: axis, apart: apart, trial: trial) })
    }

    private func isApart(_ axis: Int) -> Bool { groups(over: axis, apart: true, trial: true).count <= Self.mostCurves }

    private func note(over axis: Int) -> String {
        let (_, labels) = positions(axis)
        let others = table.sweep.axes.indices.filter { $0 != axis && isDrawn($0) }.map { table.sweep.axes[$0].key }
        return "A mark is one run, a line joins the means"
            + (isApart(axis) || others.isEmpty ? " over seeds." : " over seeds and \(others.joined(separator: ", ")).")
            + (labels.isEmpty ? "" : " On the axis " + labels.joined(separator: ", ") + ".")
    }

    /// Where the values of an axis lie: as numbers, or one after the other, with what stands for what.
    private func positions(_ axis: Int) -> ([String: Double], [String]) {
        let values = Self.distinct(table.rows.map { $0.values[axis] })
        let numbers = values.map { Double($0) }
        if numbers.allSatisfy({ $0 != nil }) {
            return (Dictionary(zip(values, numbers.compactMap { $0 })) { $1 }, [])
        }
        let places = Dictionary(zip(values, values.indices.map(Double.init))) { $1 }
        return (places, values.enumerated().map { "\($0.offset) is \($0.element)" })
    }

    private func figures(over axis: Int) -> String {
        let (places, _) = positions(axis), apart = isApart(axis)
        func drawn(_ measures: [SweepMeasure], trial: Bool) -> String {
            let names = groups(over: axis, apart: apart, trial: trial)
            let figures = measures.compactMap { figure(of: $0, over: axis, places, names, apart: apart, trial: trial) }
            return figures.isEmpty
                ? "" : legend(names) + "<div class=\"grid\">" + figures.joined() + "</div>"
        }
        return drawn(Self.drawn.filter { !$0.isOfCycles }, trial: true)
            + drawn(Self.drawn.filter(\.isOfCycles), trial: false)
    }

    private func figure(
        of measure: SweepMeasure, over axis: Int, _ places: [String: Double], _ names: [String], apart: Bool,
        trial: Bool
    ) -> String? {
        let key = table.sweep.axes[axis].key
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
            let means = Set(points.map(\.x)).sorted().map { x in
                let own = points.filter { $0.x == x }.map(\.y)
                return (x: x, y: own.reduce(0, +) / Double(own.count))
            }
            curves.append(Plot.Curve(series: Series(i), points: means))
            marks += points.map { Plot.Mark(series: Series(i), x: $0.x, y: $0.y, name: "") }
        }
        guard !marks.isEmpty else { return nil }
        var plot = Plot(
            x: Axis(title: key, range: range(marks.map(\.x))),
            y: Axis(title: measure.title, range: range(marks.map(\.y))))
        // Values that double from one to the next, as widths and k are chosen, are read on a log axis.
        if let least = places.values.min(), let most = places.values.max(), least > 0, most / least >= 8 {
            plot.x = Axis(title: key, scale: .log, range: logRange(marks.map(\.x)))
        }
        if Set(places.values) == Set((0..<places.count).map(Double.init)) { plot.x.isWhole = true }
        if measure.isCount {
            plot.y.isWhole = true
            let limits = plot.y.range
            plot.y.range = min(limits.lowerBound, marks[0].y - 1)...max(limits.upperBound, marks[0].y + 1)
        }
        (plot.curves, plot.marks) = (curves, marks)
        return Reports.figure(
            plot.svg(label: "\(measure.title) over \(key)", id: "plot-\(axis)-\(measure.rawValue)"),
            "\(measure.title) over \(key)")
    }

    // MARK: Tables

    /// What fits on paper; sweep.csv has the rest.
    private static let listed: [SweepMeasure] = [
        .score, .explainedVariance, .L0, .coreL0, .frozenCore, .deadLatents, .jaccard,
    ]

    private func rowTable() -> String {
        let heads =
            ["point"] + table.sweep.axes.map { escape($0.key) } + ["SAE", "k"]
            + Self.listed.map { escape($0.short) }
        let rows = table.rows.map { row in
            ["\(row.point)"] + row.values.map { escape($0) } + [
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
            ["point"] + table.sweep.axes.map { escape($0.key) } + ["why"],
            table.without.map { point, values, error in
                ["\(point)"] + values.map { escape($0) } + [escape(error ?? "not done yet")]
            })
    }
}
