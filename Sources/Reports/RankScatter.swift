import Attribution

/// Ranks by any two methods against each other; a script moves the dots when others are chosen.
struct RankScatter {
    private let report: ComparisonReport
    /// Ranks from 1 of the latents that are shown, by method.
    private let ranks: [[Int]]
    private let step: Int

    /// Dots that the page can move without a pause.
    private static let mostDots = 1500

    init(_ report: ComparisonReport) {
        self.report = report
        let count = report.record.candidates
        let step = max(1, (count + Self.mostDots - 1) / Self.mostDots)
        self.step = step
        ranks = report.orders.map { order in
            var ranks = [Int](repeating: 0, count: order.count)
            for (rank, latent) in order.enumerated() { ranks[latent] = rank + 1 }
            return stride(from: 0, to: order.count, by: step).map { ranks[$0] }
        }
    }

    var note: String {
        "\(step == 1 ? "Every latent" : "One latent in \(step)") is a dot; rank 1 is bottom left. Dotted lines bound the cores: "
            + "left of the one and below the other lie the latents that both methods select."
    }

    private var last: Int { max(2, report.record.candidates) }

    private func title(_ method: Int) -> String { "rank by " + fitted(report.names[method], 34) }

    func html() -> String {
        let axis = 1...Double(last)
        var plot = Plot(x: Axis(title: title(0), range: axis), y: Axis(title: title(1), range: axis))
        plot.dots = ("rank-dots", zip(ranks[0], ranks[1]).map { (Double($0), Double($1)) })
        plot.guides = [
            ("rank-core-x", Double(report.coreSizes[0]) + 0.5, true, ""),
            ("rank-core-y", Double(report.coreSizes[1]) + 0.5, false, ""),
        ]
        func select(_ label: String, _ id: String, _ chosen: Int) -> String {
            let options = report.names.enumerated().map { i, name in
                "<option value=\"\(i)\"\(i == chosen ? " selected" : "") data-title=\"\(escape(title(i)))\" "
                    + "data-core=\"\(report.coreSizes[i])\">\(escape(name))</option>"
            }
            return "<label>\(label) <select id=\"\(id)\">\(options.joined())</select></label>"
        }
        return
            "<p class=\"choices\">\(select("across", "rank-x", 0)) \(select("up", "rank-y", 1))</p><div class=\"grid\">"
            + figure(
                plot.svg(label: "Ranks of latents by two methods", id: "rank-axis"),
                "Dots on the diagonal: both methods agree.") + "</div>"
    }

    var script: String {
        let f = Plot.frame
        return """
            "use strict";
            const ranks = \(ranks), last = \(last);
            const selects = ["x", "y"].map(axis => document.getElementById("rank-" + axis));
            const across = rank => \(f.left) + (rank - 1) / (last - 1) * \(f.width);
            const up = rank => \(f.top + f.height) - (rank - 1) / (last - 1) * \(f.height);
            const csv = cell => /[",\\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
            function draw() {
              const [x, y] = selects.map(select => ranks[select.value]);
              document.querySelectorAll("#rank-dots circle").forEach((dot, i) => {
                dot.setAttribute("cx", across(x[i]).toFixed(1));
                dot.setAttribute("cy", up(y[i]).toFixed(1));
              });
              const [a, b] = selects.map(select => select.selectedOptions[0].dataset);
              document.getElementById("rank-axis-x").textContent = a.title;
              document.getElementById("rank-axis-y").textContent = b.title;
              document.getElementById("rank-dots").closest("svg").dataset.numbers = [["latent", a.title, b.title]]
                .concat(x.map((rank, i) => [i * \(step), rank, y[i]])).map(row => row.map(csv).join(",") + "\\n").join("");
              const edge = core => Math.min(last, Math.max(1, +core + 0.5));
              document.getElementById("rank-core-x").setAttribute("d", `M${across(edge(a.core))} \(f.top)v\(f.height)`);
              document.getElementById("rank-core-y").setAttribute("d", `M\(f.left) ${up(edge(b.core))}h\(f.width)`);
            }
            selects.forEach(select => select.addEventListener("change", draw));
            // A browser that comes back to the page keeps what was chosen.
            draw();
            addEventListener("pageshow", draw);
            """
    }
}
