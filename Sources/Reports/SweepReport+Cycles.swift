import Distillation

extension SweepReport {
    private static let cycleMeasures: [CycleMeasure] = [
        .coreSize, .carriedShare, .jaccard, .coverage, .coreL0, .score,
    ]

    /// What cycles came to, one after the other (arXiv:2512.24975, figures 5 and 6): a curve for each value.
    func cycles(_ direction: SweepDirection) -> String {
        let groups = direction.values.indices.map { direction.runs($0, of: table).map(\.steps.cycles) }
        let most = groups.joined().map(\.count).max() ?? 0
        guard most > 1 else { return "" }
        let figures = Self.cycleMeasures.compactMap { measure -> String? in
            var plot = Plot(x: cycleAxis(most), y: Axis(title: measure.title, range: 0...1))
            plot.curves = groups.enumerated().map { measure.curve(direction.series($0.offset), of: $0.element) }
            let heights = plot.curves.flatMap(\.heights)
            guard !heights.isEmpty else { return nil }
            plot.y.range = measure.limits ?? range(heights)
            let caption = "\(measure.title) over cycles"
            return figure(plot.svg(label: "\(caption), by \(direction.key)", names: direction.names), caption)
        }
        return "<h3>Cycle by cycle</h3>"
            + legend(direction.names.indices.map { (direction.names[$0], direction.series($0)) })
            + "<div class=\"grid\">" + figures.joined() + "</div>"
    }

    /// The last cores by where their latents come from.
    func origins(_ direction: SweepDirection) -> String {
        let bars = direction.values.indices.map { index in
            let births = direction.runs(index, of: table).map { $0.steps.births($0.steps.cores.count - 1) }
            let last = births.map(\.count).max() ?? 0
            return (
                name: direction.names[index],
                births: (0..<last).map { born in
                    Double(births.reduce(0) { $0 + ($1.indices.contains(born) ? $1[born] : 0) }) / Double(births.count)
                }
            )
        }
        return "<h3>Where latents of the last core come from</h3>"
            + OriginFigure(
                bars: bars, axis: Axis(title: direction.key, names: direction.names),
                label: "Origin of the last core's latents, by \(direction.key)",
                caption: "Latents of the last cycle's core by the cycle that they were born in; means over runs.",
                head: direction.key
            ).html
    }
}
