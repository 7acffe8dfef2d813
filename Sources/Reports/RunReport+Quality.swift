import Attribution
import Distillation
import TensorFiles

extension RunReport {
    func qualityTable() -> String {
        let trials = records.trials
        guard !trials.rows.isEmpty else { return "" }
        let hasTokens = trials.differ(\.tokens), hasSeed = trials.differ(\.seed)
        let hasDifferences = trials.rows.contains { trials.difference($0) != nil }
        let rows = trials.rows.map { row in
            func shown(_ places: Int, _ value: (EvaluationRecord) -> Double) -> String {
                stacked(row.spread { value($0.evaluation) }, places)
            }
            let cells: [[String]] = [
                ["\(escape(row.trial.name)), k = \(number(row.trial.k))", escape(row.core)],
                hasTokens ? ["\(row.trial.tokens)"] : [], hasSeed ? ["\(row.trial.seed)"] : [],
                [
                    shown(1) { $0.l0 }, shown(1) { $0.l0_core }, shown(3) { $0.explained_variance },
                    shown(3) { $0.cossim }, shown(3) { $0.ce_loss_score },
                ],
                hasDifferences ? [trials.difference(row).map { stacked($0, 4) } ?? "–"] : [],
                [shown(3) { $0.ce_loss_with_sae }, stacked(dead(row), 0)],
            ]
            return cells.flatMap { $0 }
        }
        let heads =
            ["SAE", "core"] + (hasTokens ? ["tokens"] : []) + (hasSeed ? ["seed"] : [])
            + ["L0", "L0 core", "expl. variance", "cosine", "CE score"] + (hasDifferences ? ["Δ CE score"] : [])
            + ["CE loss [nats]", "dead"]
        return table(heads, rows) + (hasDifferences ? Self.legendOfDifferences : "")
    }

    private static let legendOfDifferences =
        "<p class=\"note\">Δ is the CE score less that of the first trial with the distilled core at the same k.</p>"

    private func dead(_ row: TrialTable.Row) -> Spread {
        Spread(row.saes.compactMap(\.deadLatents).map(Double.init))
    }

    func qualityFigure() -> String {
        let rows = records.trials.rows
        typealias Point = (x: Double, y: Double)
        func point(_ row: TrialTable.Row) -> Point { (row.spread { $0.evaluation.l0 }.mean, row.score.mean) }
        let names = rows.map(\.trial.name).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        let groups: [(String, [Point])] =
            names.map { name in (name, rows.filter { $0.trial.name == name }.map(point)) }
            + [
                (
                    "cycles",
                    records.seeds.flatMap(\.cycles).map { cycle -> Point in
                        (cycle.sae.evaluation.l0, cycle.sae.evaluation.ce_loss_score)
                    }
                )
            ]
        let all = groups.flatMap(\.1)
        var plot = Plot(
            x: Axis(title: "total L0", range: range(all.map(\.x))),
            y: Axis(title: "CE loss score", range: range(all.map(\.y))))
        for (i, points) in groups.map(\.1).enumerated() {
            let isFinal = i < groups.count - 1
            if isFinal { plot.curves.append(Plot.Curve(series: Series(i), points: points)) }
            plot.marks += points.enumerated().map { n, point in
                Plot.Mark(series: Series(i), x: point.x, y: point.y, name: isFinal ? "" : "\(n)")
            }
        }
        return legend(groups.map(\.0), line: false) + "<div class=\"grid\">"
            + figure(
                plot.svg(label: "CE loss score against total L0", names: groups.map(\.0)),
                "Higher is better: 1 is the model itself, 0 its residual stream zeroed. Numbers are those of cycles"
                    + (records.run.recipe["train.budget"] == "total" ? "." : ", whose k does not count the core."))
            + "</div>"
    }
}
