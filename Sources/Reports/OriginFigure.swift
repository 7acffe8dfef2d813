import Distillation
import TensorFiles

/// Cores as bars, cut by the cycle their latents were born in (arXiv:2512.24975, figure 2), and the same as numbers.
struct OriginFigure {
    /// A core, or a mean over several: its name, and how many latents were born in each cycle from 0 on.
    let bars: [(name: String, births: [Double])]
    /// Bars stand at 0, 1, ….
    let axis: Axis
    /// Read out in the place of the picture.
    let label: String
    let caption: String
    /// What the first column of the numbers has.
    let head: String

    var html: String {
        let most = bars.map { $0.births.reduce(0, +) }.max() ?? 0
        guard most > 0 else { return "<p>There is no core yet.</p>" }
        let cycles = bars.map(\.births.count).max() ?? 0
        var plot = Plot(x: axis, y: Axis(title: "core latents", range: range([most], from: 0)))
        for (place, bar) in bars.enumerated() {
            var below = 0.0
            for (born, count) in bar.births.enumerated() where count > 0 {
                plot.bars.append(
                    Plot.BarPart(
                        x: Double(place), heights: below...(below + count), color: OrderedColor(born, of: cycles),
                        name: Self.text(count), title: "\(bar.name): \(Self.text(count)) born in cycle \(born)"))
                below += count
            }
        }
        let rows = bars.map { bar in
            [escape(bar.name)] + bar.births.map(Self.text)
                + Array(repeating: "", count: cycles - bar.births.count)
        }
        return orderedLegend((0..<cycles).map { "born in cycle \($0)" }) + "<div class=\"grid\">"
            + figure(plot.svg(label: label), caption)
            + "<div>" + table([escape(head)] + (0..<cycles).map { "born in \($0)" }, rows) + "</div></div>"
    }

    /// Means are shown to a tenth.
    private static func text(_ count: Double) -> String { short(count, count == count.rounded() ? 0 : 1) }
}

extension FinishedSeed {
    /// How many latents of the core of cycle t were born in each cycle from 0 to t.
    func births(_ t: Int) -> [Int] { (0...t).map { born in cores[t].latents.count { $0.born == born } } }
}
