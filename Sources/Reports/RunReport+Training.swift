import Distillation

extension RunReport {
    func training() -> String {
        let all = records.trainings + controls
        // One of several seeds looks like the others of its name.
        let names = all.map(\.parts.name).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        guard !all.isEmpty else { return "<p>The log holds no training step.</p>" }
        let groups = names.enumerated().map { i, name in
            (series: Series(i), trainings: all.filter { $0.parts.name == name })
        }
        let core = TrainingCurve.corePlot(groups)
        var loss = Plot(x: core.x, y: Axis(title: "‖x − x̂‖², mean", scale: .log, range: 0.1...1))
        loss.curves = groups.flatMap { TrainingCurve.means(of: $0.trainings, $0.series) { $0.loss } }
        loss.y.range = logRange(loss.curves.flatMap(\.heights))
        let means = names.count < all.count ? "; means over seeds, bands from the least to the largest." : "."
        let withCore =
            core.curves.isEmpty
            ? "<p>No training with a core yet.</p>"
            : figure(
                core.svg(label: "L0 of the core over training", names: names),
                "Mean active core latents a token" + means
                    + (controls.isEmpty && records.trials.rows.allSatisfy { $0.trial.isPlain || $0.trial.isDistilled }
                        ? " No other core is shown; the recipe's final.trials makes them, --control takes another training."
                        : ""))
        return legend(names) + "<div class=\"grid\">" + withCore
            + figure(
                loss.svg(label: "Reconstruction loss over training", names: names),
                "Reconstruction loss of the full width, on scaled activations" + means) + "</div>"
    }
}

extension TrainingCurve {
    /// Steps of a curve that the eye can tell apart.
    private static let mostSteps = 300

    /// L0 of the core over steps (arXiv:2512.24975, figure 3), of trainings that have one: a mean for each group.
    static func corePlot(_ groups: [(series: Series, trainings: [TrainingCurve])]) -> Plot {
        let last = groups.flatMap { $0.trainings.flatMap { $0.steps.map { Double($0.step) } } }.max() ?? 1
        var plot = Plot(x: Axis(title: "step", range: 0...max(1, last)), y: Axis(title: "L0 of the core", range: 0...1))
        plot.curves = groups.flatMap { group in means(of: group.trainings.filter(\.hasCore), group.series) { $0.core } }
        plot.y.range = range(plot.curves.flatMap(\.heights), from: 0)
        return plot
    }

    /// The mean of trainings that were logged at the same steps, with a band from the least to the largest; trainings that go on for
    /// longer, or were cut short, are curves of their own.
    static func means(
        of trainings: [TrainingCurve], _ series: Series, _ value: (Step) -> Double
    ) -> [Plot.Curve] {
        let curves = trainings.map { training in
            training.thinned(to: mostSteps).map { (x: Double($0.step), y: value($0)) }
        }
        let lengths = curves.map { $0.map(\.x) }.reduce(into: [[Double]]()) { if !$0.contains($1) { $0.append($1) } }
        return lengths.map { steps in Plot.Curve(series, meanOf: curves.filter { $0.map(\.x) == steps }) }
    }
}
