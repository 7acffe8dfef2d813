import Attribution
import Distillation
import TensorFiles

extension RunReport {
    func qualityTable() -> String {
        guard !records.finals.isEmpty else { return "" }
        let rows = records.finals.flatMap { final in
            final.named.map { record, name in
                let e = record.evaluation
                return [
                    "\(name), k = \(number(final.k))", "\(record.frozenCore)", short(e.l0, 1), short(e.l0_core, 1),
                    short(e.explained_variance), short(e.cossim), short(e.ce_loss_score), short(e.ce_loss_with_sae),
                    record.dead,
                ]
            }
        }
        let heads = [
            "SAE", "frozen", "L0", "L0 core", "expl. variance", "cosine", "CE score", "CE loss [nats]", "dead",
        ]
        return table(heads, rows)
    }

    func qualityFigure() -> String {
        let finals = records.finals
        typealias Point = (x: Double, y: Double)
        func points(_ saes: [SAERecord]) -> [Point] { saes.map { ($0.evaluation.l0, $0.evaluation.ce_loss_score) } }
        let controls = CoreControl.allCases.map { control in
            (control.title, points(finals.compactMap { $0[control] }))
        }
        let groups =
            [("DMSAE", points(finals.map(\.dmsae))), ("baseline", points(finals.map(\.baseline)))]
            + controls.filter { !$0.1.isEmpty } + [("cycles", points(records.cycles.map(\.sae)))]
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
                plot.svg(label: "CE loss score against total L0"),
                "Higher is better: 1 is the model itself, 0 its residual stream zeroed. Numbers are those of cycles"
                    + (records.run.recipe["train.budget"] == "total" ? "." : ", whose k does not count the core."))
            + "</div>"
    }
}
