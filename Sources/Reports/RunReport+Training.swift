extension RunReport {
    /// Steps of a curve that the eye can tell apart.
    private static let mostSteps = 300

    func training() -> String {
        let all = records.trainings + controls
        // One of several seeds looks like the others of its name.
        let names = all.map(\.parts.name).reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        let hasSeeds = names.count < all.count
        guard !all.isEmpty else { return "<p>The log holds no training step.</p>" }
        let last = all.flatMap { $0.steps.map { Double($0.step) } }.max() ?? 1
        func plot(_ title: String, _ chosen: [Int], _ value: (TrainingCurve.Step) -> Double) -> Plot {
            var plot = Plot(x: Axis(title: "step", range: 0...max(1, last)), y: Axis(title: title, range: 0...1))
            plot.curves = chosen.map { i in
                Plot.Curve(
                    series: Series(names.firstIndex(of: all[i].parts.name) ?? i),
                    points: all[i].thinned(to: Self.mostSteps).map { (Double($0.step), value($0)) })
            }
            return plot
        }
        var core = plot("L0 of the core", all.indices.filter { all[$0].hasCore }) { $0.core }
        core.y.range = range(core.curves.flatMap { $0.points.map(\.y) }, from: 0)
        var loss = plot("‖x − x̂‖², mean", Array(all.indices)) { $0.loss }
        loss.y.scale = .log
        loss.y.range = logRange(loss.curves.flatMap { $0.points.map(\.y) })
        let withCore =
            core.curves.isEmpty
            ? "<p>No training with a core yet.</p>"
            : figure(
                core.svg(label: "L0 of the core over training"),
                "Mean active core latents a token" + (hasSeeds ? ", a curve a seed." : ".")
                    + (controls.isEmpty && records.trials.rows.allSatisfy { $0.trial.isPlain || $0.trial.isDistilled }
                        ? " No other core is shown; the recipe's final.trials makes them, --control takes another training."
                        : ""))
        return legend(names) + "<div class=\"grid\">" + withCore
            + figure(
                loss.svg(label: "Reconstruction loss over training"),
                "Reconstruction loss of the full width, on scaled activations.") + "</div>"
    }
}
