import Attribution
import Distillation
import TensorFiles

extension SweepReport {
    /// What trials are told apart by.
    private static let compared: [SweepMeasure] = [.score, .explainedVariance]

    /// Seeds of all points.
    private var seedCount: Int { Set(table.rows.map(\.seed)).count }

    // MARK: In words

    /// What trials say of the distilled core over each key, and values of the key of the main trial: that one is better or worse only
    /// where an interval excludes 0.
    var claims: [String] {
        let sentences = directions.flatMap { direction in
            Self.compared.flatMap { measure in
                groups(measure, direction).map { sentence(measure, direction, $0) } + steps(measure, direction)
            }
        }
        guard !sentences.isEmpty else { return [] }
        switch seedCount {
        case 1: return ["One seed: without an interval no difference is a finding; three seeds give one."]
        case 2: return ["Two seeds: an interval takes three, and without one no difference is a finding."]
        default: return sentences
        }
    }

    /// Differences between the same two trials at the same k, one at each value; along k, whatever it is.
    private func groups(_ measure: SweepMeasure, _ direction: SweepDirection) -> [[SweepDifference]] {
        let all = table.differences(in: measure, over: direction.axis)
        func group(_ difference: SweepDifference) -> [String] {
            [difference.trial, difference.reference, direction.isAlongK ? "" : "\(difference.k)"]
        }
        return all.map(group).distinct.map { name in
            direction.values.flatMap { value in all.filter { $0.value == value && group($0) == name } }
        }
    }

    private func sentence(_ measure: SweepMeasure, _ direction: SweepDirection, _ group: [SweepDifference]) -> String {
        guard let first = group.first else { return "" }
        let (a, b) = (name(first.reference, k: first.k, direction), name(first.trial, k: first.k, direction))
        let settled = group.filter(\.interval.hasLimits)
        let better = settled.filter(\.interval.isBelowZero), worse = settled.filter(\.interval.isAboveZero)
        let open = settled.filter { !$0.interval.isBelowZero && !$0.interval.isAboveZero }
        let parts = [
            part("\(a) is better than \(b) by", better, direction, sign: -1),
            part("\(a) is worse than \(b) by", worse, direction),
            part("\(a) is not shown to be better or worse than \(b), with a difference of", open, direction),
            part(
                "\(a) and \(b) have too few seeds that are done, with", group.filter { !$0.interval.hasLimits },
                direction),
        ]
        return head(measure, direction) + parts.compactMap { $0 }.joined(separator: "; ") + "."
    }

    /// The main trial at each other value of a key, held against it at the first.
    private func steps(_ measure: SweepMeasure, _ direction: SweepDirection) -> [String] {
        guard let axis = direction.axis, let base = direction.values.first, let trial = mainTrial else {
            return []
        }
        let all = table.differences(in: measure, betweenValuesOf: axis, from: base, isAlongK: direction.isAlongK)
            .filter { $0.trial == trial }
        return all.map { name(trial, k: $0.k, direction) }.distinct.map { own in
            let group = direction.values.flatMap { value in
                all.filter { $0.value == value && name(trial, k: $0.k, direction) == own }
            }
            let settled = group.filter(\.interval.hasLimits)
            let parts = [
                part("it is larger by", settled.filter(\.interval.isAboveZero), direction),
                part("it is smaller by", settled.filter(\.interval.isBelowZero), direction, sign: -1),
                part(
                    "it is not shown to differ, with a difference of",
                    settled.filter { !$0.interval.isAboveZero && !$0.interval.isBelowZero }, direction),
                part("there are too few seeds that are done, with", group.filter { !$0.interval.hasLimits }, direction),
            ]
            return head(measure, direction) + "of \(own), beside \(base), "
                + parts.compactMap { $0 }.joined(separator: "; ")
                + "."
        }
    }

    private func head(_ measure: SweepMeasure, _ direction: SweepDirection) -> String {
        "\(measure.title)\(direction.axis == nil ? "" : " over \(direction.key)")\(others(than: direction)): "
    }

    /// Some differences with their intervals and values; nil of none.
    private func part(
        _ words: String, _ chosen: [SweepDifference], _ direction: SweepDirection, sign: Double = 1
    ) -> String? {
        guard !chosen.isEmpty else { return nil }
        let texts = chosen.map { difference in
            let interval = difference.interval, ends = [sign * interval.low, sign * interval.high]
            return short(sign * interval.value, 4)
                + (interval.hasLimits ? " [\(short(ends.min() ?? 0, 4)), \(short(ends.max() ?? 0, 4))]" : "")
                + (direction.axis == nil ? "" : " at \(difference.value)")
        }
        return words + " " + texts.joined(separator: ", ")
    }

    /// What a mean of differences and its interval are.
    private static let meaning =
        "the mean is over seeds, with its 95% interval by Student's t where there are three. Of such intervals one in twenty excludes 0 by chance."

    /// ", means over …": what a difference at a value is averaged over, which can hide that it hangs on that.
    private func others(than direction: SweepDirection) -> String {
        let keys = directions.compactMap { $0.axis }.filter { $0 != direction.axis }.map { table.axes[$0].key }
        return keys.isEmpty ? "" : ", means over \(keys.joined(separator: " and "))"
    }

    // MARK: As a table and figures

    /// Paired differences at each value, with their intervals; nothing where there is but one seed.
    func differences(_ direction: SweepDirection) -> String {
        let found = Self.compared.map { table.differences(in: $0, over: direction.axis) }
        guard seedCount > 1, let first = found.first, !first.isEmpty else { return "" }
        let ordered = direction.values.flatMap { value in first.filter { $0.value == value } }
        let rows = ordered.map { difference in
            (direction.axis == nil ? [] : [escape(difference.value)])
                + [
                    escape("\(name(difference.trial, k: difference.k, direction)) less \(difference.reference)"),
                    "\(difference.bySeed.count)",
                ]
                + found.map { all in
                    let same = all.first {
                        ($0.value, $0.k, $0.trial, $0.reference)
                            == (difference.value, difference.k, difference.trial, difference.reference)
                    }
                    return same.map { stacked($0.interval, 4) } ?? "–"
                }
        }
        let heads =
            (direction.axis == nil ? [] : [escape(direction.key)]) + ["difference", "seeds"]
            + Self.compared.map { "Δ \(escape($0.short))" }
        let note = "Differences are between SAEs of one point; " + Self.meaning
        return "<h3>Differences between trials</h3><p class=\"note\">\(note)</p>" + Reports.table(heads, rows)
            + forest(direction, zip(Self.compared, found).map { ($0, $1) })
    }

    /// What each trial gains or loses by each other value of the key; nothing where there is but one seed.
    func steps(_ direction: SweepDirection) -> String {
        guard let axis = direction.axis, let base = direction.values.first, seedCount > 1 else { return "" }
        let measures: [SweepMeasure] = Self.compared + [.coreL0, .lastCoreSize, .carriedOver]
        let found = measures.map {
            table.differences(in: $0, betweenValuesOf: axis, from: base, isAlongK: direction.isAlongK)
        }
        let ordered = direction.values.flatMap { value in (found.first ?? []).filter { $0.value == value } }
        guard !ordered.isEmpty else { return "" }
        let rows = ordered.map { difference in
            [
                escape(difference.value), escape(name(difference.trial, k: difference.k, direction)),
                "\(difference.bySeed.count)",
            ]
                + zip(measures, found).map { measure, all in
                    let same = all.first {
                        ($0.value, $0.k, $0.trial) == (difference.value, difference.k, difference.trial)
                    }
                    return same.map { stacked($0.interval, measure.isCount || measure == .coreL0 ? 1 : 4) } ?? "–"
                }
        }
        let note =
            "Each SAE less that of the same trial, seed and other keys at \(escape(direction.key)) \(escape(base)); "
            + Self.meaning
        return "<h3>Differences between values</h3><p class=\"note\">\(note)</p>"
            + Reports.table(
                [escape(direction.key), "SAE", "seeds"] + measures.map { "Δ \(escape($0.short))" }, rows)
    }

    /// Mean differences with their intervals over the values.
    private func forest(_ direction: SweepDirection, _ found: [(SweepMeasure, [SweepDifference])]) -> String {
        guard direction.axis != nil else { return "" }
        let names = (found.first?.1 ?? []).map { name($0.trial, k: $0.k, direction) }.distinct
        let figures = found.map { measure, all in
            var plot = Plot(
                x: Axis(title: direction.key, names: direction.names),
                y: Axis(title: "Δ \(measure.title)", range: 0...1))
            for (i, trial) in names.enumerated() {
                for difference in all where name(difference.trial, k: difference.k, direction) == trial {
                    guard let place = direction.values.firstIndex(of: difference.value) else { continue }
                    plot.add(difference.interval, at: place, i, of: names.count)
                }
            }
            plot.y.range = range([0] + plot.intervalEnds)
            plot.guides = [("zero-\(direction.axis ?? 0)-\(measure.rawValue)", 0, false, "")]
            let caption = "Δ \(measure.title): trial less the distilled one, below 0 where that is better."
            return figure(plot.svg(label: "\(measure.title), differences over \(direction.key)", names: names), caption)
        }
        return legend(names, line: false) + "<div class=\"grid\">" + figures.joined() + "</div>"
    }
}
