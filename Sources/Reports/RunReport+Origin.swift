import Distillation

extension RunReport {
    /// A bar for each cycle's core, cut by the cycle its latents were born in, and the same as numbers.
    func origin() -> String {
        guard records.seeds.count > 1 else { return origin(records.seeds.first?.cores ?? []) }
        return records.seeds.filter { !$0.cores.isEmpty }.map { "<h3>Seed \($0.seed)</h3>" + origin($0.cores) }.joined()
    }

    private func origin(_ cores: [Core]) -> String {
        guard let most = cores.map(\.latents.count).max(), most > 0 else { return "<p>There is no core yet.</p>" }
        let counts = cores.enumerated().map { cycle, core in
            (0...cycle).map { born in core.latents.count { $0.born == born } }
        }
        var plot = Plot(x: cycleAxis, y: Axis(title: "core latents", range: range([Double(most)], from: 0)))
        for (cycle, births) in counts.enumerated() {
            var below = 0
            for (born, count) in births.enumerated() where count > 0 {
                plot.bars.append(
                    Plot.BarPart(
                        x: Double(cycle), heights: Double(below)...Double(below + count),
                        color: OrderedColor(born, of: cores.count), name: "\(count)",
                        title: "cycle \(cycle): \(count) born in cycle \(born)"))
                below += count
            }
        }
        let rows = counts.enumerated().map { cycle, births in
            ["\(cycle)"] + births.map(String.init) + Array(repeating: "", count: cores.count - births.count)
        }
        return orderedLegend(cores.indices.map { "born in cycle \($0)" }) + "<div class=\"grid\">"
            + figure(
                plot.svg(label: "Origin of core latents"), "Latents of each cycle's core by the cycle they come from.")
            + "<div>" + table(["cycle"] + cores.indices.map { "born in \($0)" }, rows) + "</div></div>"
    }
}
