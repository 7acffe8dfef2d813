import Distillation

extension SweepReport {
    /// L0 of the core over the steps of the last cycle and of each trial with a core (arXiv:2512.24975, figure 3): a figure for each
    /// value, all with the same axes.
    func training(_ direction: SweepDirection) -> String {
        let groups = direction.values.indices.map { index in
            direction.runs(index, of: table).flatMap { run in coreTrainings(of: run, direction) }
        }
        let names = groups.joined().map(\.name).distinct
        var plots = groups.map { own in
            TrainingCurve.corePlot(
                names.enumerated().map { i, name in
                    (series: Series(i), trainings: own.filter { $0.name == name }.map(\.training))
                })
        }
        let all = plots.flatMap(\.curves)
        guard !all.isEmpty else { return "" }
        let (last, heights) = (all.flatMap { $0.points.map(\.x) }.max() ?? 1, all.flatMap(\.heights))
        for i in plots.indices { (plots[i].x.range, plots[i].y.range) = (0...max(1, last), range(heights, from: 0)) }
        let figures = zip(direction.values, plots).filter { !$0.1.curves.isEmpty }.map { value, plot in
            let place = direction.axis == nil ? "All points" : direction.place(value)
            return figure(plot.svg(label: "L0 of the core over training, \(place)", names: names), place)
        }
        return "<h3>L0 of the core over training</h3>" + legend(names) + "<div class=\"grid\">" + figures.joined()
            + "</div>"
    }

    /// Trainings of a point whose core fires, with what they are called.
    private func coreTrainings(
        of run: SweepTable.Run, _ direction: SweepDirection
    ) -> [(name: String, training: TrainingCurve)] {
        let last = "cycle-\(run.steps.cycles.count - 1)"
        return (trainings[run.point] ?? []).filter(\.hasCore).compactMap { training in
            let (own, seed) = training.parts
            // Trainings of a run of one seed lie in its folder itself.
            guard seed.isEmpty || seed == "seed-\(run.steps.seed)" else { return nil }
            if own == last { return ("last cycle", training) }
            let trial = run.steps.trials.first { $0.trial.folder == own }?.trial
            return trial.map { (name($0.name, k: $0.k, direction), training) }
        }
    }
}
