import Attribution
import TensorFiles

extension ComparisonReport {
    /// How much of all attribution the first latents have.
    func coverage() -> String {
        var plot = Plot(
            x: Axis(
                title: "latents, highest score first", scale: .logOnePlus, range: 0...Double(max(1, record.candidates))),
            y: Axis(title: "share of all attribution", range: 0...1))
        plot.guides = [("coverage-tau", record.tau, false, "τ = \(tau)")]
        for (i, method) in record.methods.enumerated() {
            let scores = orders[i].map { max(0, method.scores[$0]) }
            let total = scores.reduce(0, +)
            guard total > 0 else { continue }
            var points = [(x: 0.0, y: 0.0)]
            var sum = 0.0
            for (n, score) in scores.enumerated() {
                sum += score
                // Every latent at first, then one in fiftieth part more: the eye sees no difference.
                if n < 50 || n == scores.count - 1 || Double(n + 1) >= points[points.count - 1].x * 1.02 {
                    points.append((Double(n + 1), sum / total))
                }
            }
            plot.curves.append(Plot.Curve(series: Series(i), points: points))
        }
        guard !plot.curves.isEmpty else { return "<p>No method has a score above 0.</p>" }
        return legend(names) + "<div class=\"grid\">"
            + figure(
                plot.svg(label: "Coverage curves", names: names),
                "Share of the positive scores' sum in the first n latents.")
            + "<div>\(coreSizeTable())</div></div>"
    }

    private func coreSizeTable() -> String {
        let rows = record.methods.indices.map { i in
            [named(i)] + record.methods[i].cores.map { "\($0.latents.count)" }
        }
        let taus = record.methods.first?.cores.map { "τ&nbsp;=&nbsp;\(short($0.tau, 2))" } ?? []
        return table(["core of"] + taus, rows, class: "named")
    }

    var curveNote: String {
        let losses = record.curve_losses
        return
            "Mean next-token loss over \(losses.sequences) sequences\(losses.held_out ? " that were not scored" : ""), with 95% "
            + "bands. The model itself has \(short(losses.original)) nats per token, with the spliced prefix "
            + "\(short(losses.every)), with none of its latents \(short(losses.none))."
    }

    /// Losses without the top latents and with nothing else.
    func faithfulness() -> String {
        let compared = record.methods.indices.filter { record.methods[$0].faithfulness != nil }
        func plot(_ title: String, _ losses: (ComparisonRecord.Faithfulness) -> [Interval]) -> Plot {
            var plot = Plot(
                x: Axis(title: title, scale: .logOnePlus, range: 0...Double(max(1, record.candidates))),
                y: Axis(title: "loss [nats per token]", range: 0...1))
            for i in compared {
                guard let curve = record.methods[i].faithfulness else { continue }
                let intervals = losses(curve)
                plot.curves.append(
                    Plot.Curve(
                        series: Series(i), points: zip(curve.counts, intervals).map { (Double($0), $1.value) },
                        band: intervals.map { ($0.low, $0.high) }, hasMarkers: true))
            }
            plot.y.range = range(plot.curves.flatMap { $0.points.map(\.y) + $0.band.flatMap { [$0.low, $0.high] } })
            return plot
        }
        let removed = plot("latents removed, highest score first") { $0.removed }
        let kept = plot("latents kept, highest score first") { $0.kept }
        return legend(names) + "<div class=\"grid\">"
            + figure(
                removed.svg(label: "Loss when top latents are removed", names: names),
                "Removed: the sooner it rises, the better.")
            + figure(
                kept.svg(label: "Loss when only top latents are kept", names: names),
                "Kept: the sooner it falls, the better.")
            + "</div>" + removalDifferences(compared)
    }

    private func removalDifferences(_ compared: [Int]) -> String {
        guard compared.count > 1 else { return "" }
        let rows = compared.map { i in
            [named(i)]
                + compared.map { j in
                    let name = record.methods[j].name
                    guard let difference = record.methods[i].faithfulness?.removed_area_over[name] else { return "" }
                    let text = stacked(difference)
                    return difference.isAboveZero || difference.isBelowZero ? "<b>\(text)</b>" : text
                }
        }
        return "<h3>Removal area, row less column</h3>" + table([""] + compared.map { key($0) }, rows, class: "named")
            + "<p class=\"note\">Bold where the interval leaves out 0: the row's top latents matter more (above 0) or less.</p>"
    }

    /// Times below this are shown as this: a scorer that only counts takes none that can be seen.
    private static let leastSeconds = 0.01

    /// How near each method comes to the dearest, and at what time.
    func cost() -> String {
        let costed = record.methods.indices.filter { record.methods[$0].cost != nil }
        func seconds(_ i: Int) -> Double { max(Self.leastSeconds, record.methods[i].cost?.seconds ?? 0) }
        guard let dearest = costed.max(by: { seconds($0) < seconds($1) }) else {
            return "<p>Nothing is known of costs.</p>"
        }
        let reference = record.methods[dearest].name
        var plot = Plot(
            x: Axis(title: "own time [s]", scale: .log, range: 0.01...1),
            y: Axis(title: "Spearman ρ with method \(dearest + 1)", range: 0...1))
        for i in costed {
            let agreement = i == dearest ? 1 : pair(i, dearest)?.spearman.value ?? .nan
            guard agreement.isFinite else { continue }
            plot.marks.append(Plot.Mark(series: Series(i), x: seconds(i), y: agreement, name: "\(i + 1)"))
        }
        plot.x.range = (Self.leastSeconds / 1.5)...(max(1, plot.marks.map(\.x).max() ?? 1) * 2)
        plot.y.range = min(0, (plot.marks.map(\.y).min() ?? 0) - 0.1)...1.1
        return legend(names, line: false) + "<div class=\"grid\">"
            + figure(
                plot.svg(label: "Cost against agreement", names: names),
                "Agreement with \(dearest + 1) \(reference), the dearest method here, against the time each takes beyond the shared pass; "
                    + "times below \(Self.leastSeconds) s stand at \(Self.leastSeconds) s.") + "</div>"
    }
}
