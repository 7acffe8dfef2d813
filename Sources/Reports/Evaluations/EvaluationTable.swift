import Attribution
import TensorFiles

/// A table of evaluations before it is HTML or text.
struct EvaluationTable {
    enum Cell {
        case text(String)
        case number(Interval?, places: Int)
    }

    let title: String
    let heads: [String]
    var rows: [[Cell]]

    /// As part of a page.
    var html: String {
        let rows = rows.map { row in
            row.map { cell in
                switch cell {
                case .text(let text): escape(text)
                case .number(let interval, let places): stacked(interval, places)
                }
            }
        }
        return "<h4>\(escape(title))</h4>" + table(heads.map(escape), rows)
    }

    /// As Markdown has tables.
    var markdown: String {
        func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |\n" }
        func text(_ cell: Cell) -> String {
            switch cell {
            case .text(let text): return text.replacing("|", with: "\\|")
            case .number(let interval, let places):
                guard let interval, interval.value.isFinite else { return "–" }
                let limits = interval.hasLimits
                return short(interval.value, places)
                    + (limits ? " [\(short(interval.low, places)), \(short(interval.high, places))]" : "")
            }
        }
        return "**\(title)**\n\n" + line(heads) + line(heads.map { _ in "---" })
            + rows.map { line($0.map(text)) }.joined()
    }
}

extension RunEvaluations {
    private func labels(_ subject: Subject) -> [EvaluationTable.Cell] {
        (hasRuns ? [.text(subject.run)] : []) + [.text(subject.name)]
    }

    private var labelHeads: [String] { (hasRuns ? ["run"] : []) + ["SAE"] }

    /// What each kind says first, side by side; nil of one kind alone. A kind that was measured with several settings is left out: which
    /// of them would be meant?
    var overview: EvaluationTable? {
        let single = EvaluationKind.allCases.compactMap { kind -> [Group]? in
            let own = groups.filter { $0.kind == kind }
            let isEach = own.allSatisfy { group in
                own.allSatisfy { other in
                    group.settings == other.settings
                        || Set(group.files.map(\.subject)).isDisjoint(with: other.files.map(\.subject))
                }
            }
            return own.isEmpty || !isEach ? nil : own
        }
        guard single.count > 1 else { return nil }
        let columns = single.flatMap { own in
            own.flatMap(\.measures).filter { $0.headline != nil }.distinct.map { (groups: own, measure: $0) }
        }
        let rows = subjects.map { subject in
            labels(subject)
                + columns.map { column in
                    let value = column.groups.lazy.compactMap { $0.value(column.measure, of: subject) }.first
                    return EvaluationTable.Cell.number(value, places: column.measure.places)
                }
        }
        let heads = columns.map { $0.measure.headline ?? $0.measure.name }
        return EvaluationTable(title: "All evaluations", heads: labelHeads + heads, rows: rows)
    }

    /// The tables of a group: one for each part that its measures are of, and one of differences.
    func tables(_ group: Group) -> [EvaluationTable] {
        let parts = group.measures.map(\.part).distinct
        let own = parts.map { part in
            let measures = group.measures.filter { $0.part == part }
            let rows = group.files.map(\.subject).compactMap { subject -> [EvaluationTable.Cell]? in
                let values = measures.map { group.value($0, of: subject) }
                guard values.contains(where: { $0 != nil }) else { return nil }
                return labels(subject) + zip(measures, values).map { .number($1, places: $0.places) }
            }
            return EvaluationTable(title: "Of \(part)", heads: labelHeads + measures.map(\.name), rows: rows)
        }
        return own + [differences(group)].compactMap { $0 }
    }

    private func differences(_ group: Group) -> EvaluationTable? {
        let measures = group.measures.filter { measure in
            measure.headline != nil && group.files.contains { group.difference(measure, of: $0.subject) != nil }
        }
        let rows = group.files.map(\.subject).compactMap { subject -> [EvaluationTable.Cell]? in
            guard let reference = subject.reference else { return nil }
            let own = EvaluationTable.Cell.text("\(subject.name) less \(reference)")
            let numbers = measures.map { measure in
                EvaluationTable.Cell.number(group.difference(measure, of: subject), places: measure.places + 1)
            }
            return (hasRuns ? [.text(subject.run)] : []) + [own] + numbers
        }
        guard !measures.isEmpty, !rows.isEmpty else { return nil }
        return EvaluationTable(
            title: "Differences, paired by \(group.hasDraws ? draw : group.kind.units)",
            heads: (hasRuns ? ["run"] : []) + ["difference"] + measures.map(\.name), rows: rows)
    }

    /// What a group is called: of several of one kind also what is not the same in their settings.
    func title(_ group: Group) -> String {
        let others = groups.filter { $0.kind == group.kind }
        guard others.count > 1 else { return group.kind.title }
        let keys = others.flatMap(\.settings.keys).distinct.sorted()
        let differing = keys.filter { key in Set(others.map { $0.settings[key] }).count > 1 }
        // A setting by its own name says more than SAEBench's name of the same, and both more than a hash.
        let rank = { (key: String) in key.hasSuffix(Self.hash) ? 2 : key.hasPrefix(EvaluationFile.configuration) ? 1 : 0
        }
        let clearest = differing.map(rank).min() ?? 0
        let told = differing.filter { rank($0) == clearest }.map { shown($0, group.settings[$0]) }
        return "\(group.kind.title) (\(told.joined(separator: ", ")))"
    }

    /// What brackets hold.
    func note(_ group: Group) -> String {
        guard group.hasDraws else { return group.kind.interval }
        return
            "Of several \(draw)s a row has the mean, in brackets its 95% interval by Student's t over them where there are three. Of one: "
            + group.kind.interval.prefix(1).lowercased() + group.kind.interval.dropFirst()
    }

    /// What was measured with, hashes left out.
    private func settings(_ group: Group) -> String {
        // SAEBench's names of core metrics' settings are of what stands there by our own.
        let names = group.settings.keys.filter { name in
            !name.hasSuffix(Self.hash) && !(group.kind == .core && name.hasPrefix(EvaluationFile.configuration))
        }
        return names.sorted().map { shown($0, group.settings[$0]) }.joined(separator: ", ")
    }

    private func shown(_ key: String, _ value: String?) -> String {
        let name =
            key.hasPrefix(EvaluationFile.configuration) ? key.dropFirst(EvaluationFile.configuration.count) : key[...]
        guard let value, !value.isEmpty else { return "\(name) unset" }
        return "\(name) " + (key.hasSuffix(Self.hash) ? "\(value.prefix(8))…" : value)
    }

    private static let hash = ".sha256"

    /// All tables as Markdown; empty where nothing was evaluated.
    package var markdown: String {
        let head = overview.map { [$0.markdown] } ?? []
        let parts = groups.map { group in
            "### \(title(group))\n\n\(note(group)) Settings: \(settings(group)).\n\n"
                + tables(group).map(\.markdown).joined(separator: "\n")
        }
        return (head + parts).joined(separator: "\n")
    }

    // MARK: On a page

    /// The section of a page; nil where nothing was evaluated.
    var html: String? {
        guard !groups.isEmpty else { return nil }
        return (overview?.html ?? "")
            + groups.map { group in
                "<h3>\(escape(title(group)))</h3><p class=\"note\">\(escape(note(group)))</p>" + figures(group)
                    + tables(group).map(\.html).joined()
                    + "<details><summary>Settings</summary><p class=\"note\">\(escape(settings(group)))</p></details>"
            }.joined()
    }

    /// Measures of one figure side by side, SAEs beside each other at each.
    private func figures(_ group: Group) -> String {
        let subjects = group.files.map(\.subject)
        let names = subjects.map { (hasRuns ? "\($0.run): " : "") + $0.name }
        guard subjects.count > 1, subjects.count <= Self.mostDrawn else { return "" }
        let figures = group.measures.compactMap(\.figure).distinct.map { title in
            let measures = group.measures.filter { $0.figure == title }
            var plot = Plot(
                x: Axis(title: "", names: measures.map(\.name)), y: Axis(title: title, range: 0...1))
            for (place, measure) in measures.enumerated() {
                for (i, subject) in subjects.enumerated() {
                    guard let value = group.value(measure, of: subject), value.value.isFinite else { continue }
                    plot.add(value, at: place, i, of: subjects.count)
                }
            }
            plot.y.range = range(plot.intervalEnds)
            return figure(plot.svg(label: "\(self.title(group)): \(title)", names: names), title)
        }
        guard !figures.isEmpty else { return "" }
        return legend(names, line: false) + "<div class=\"grid\">" + figures.joined() + "</div>"
    }

    /// More than these nobody tells apart side by side.
    private static let mostDrawn = 10
}
