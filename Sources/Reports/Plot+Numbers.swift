extension Plot {
    /// What the picture shows, as CSV: a row for each point of a curve, marker, interval or part of a bar. `names` are those of the
    /// legend, by series; what has none goes by its number.
    func numbers(_ names: [String]) -> String {
        func name(_ series: Series) -> String {
            names.indices.contains(series.index) ? names[series.index] : "\(series.index + 1)"
        }
        var rows = [["shown", "name", x.title, y.title, "low", "high"]]
        for curve in curves {
            for (place, point) in curve.points.enumerated() {
                let limits = curve.band.indices.contains(place) ? curve.band[place] : nil
                rows.append(
                    ["curve", name(curve.series), x.text(of: point.x), number(point.y)]
                        + [limits?.low, limits?.high].map { $0.map(number) ?? "" })
            }
        }
        for mark in marks {
            let own = whiskers.first { $0.series.index == mark.series.index && $0.x == mark.x }?.limits
            rows.append(
                ["point", name(mark.series), x.text(of: mark.x), number(mark.y)]
                    + [own?.lowerBound, own?.upperBound].map { $0.map(number) ?? "" })
        }
        for part in bars {
            rows.append(
                ["part", part.title, x.text(of: part.x), number(part.heights.upperBound - part.heights.lowerBound)]
                    + [number(part.heights.lowerBound), number(part.heights.upperBound)])
        }
        return rows.map { $0.map(Self.field).joined(separator: ",") + "\n" }.joined()
    }

    /// As RFC 4180 has it.
    private static func field(_ text: String) -> String {
        text.contains { ",\"\n\r".contains($0) } ? "\"" + text.replacing("\"", with: "\"\"") + "\"" : text
    }

    private func number(_ value: Double) -> String { Axis.text(value) }
}

/// The script of every page with figures, before the page's own: below each figure buttons save the picture as SVG, with the page's style
/// in it, and its numbers as CSV. Both are made when they are asked for, from what the page holds. Figures that the page's own script makes
/// later are given to `offerSaving`.
let figureScript = """
    const offerSaving = (svg, name = svg.getAttribute("aria-label")) => {
      const line = document.createElement("p");
      const add = (kind, type, text) => {
        const button = document.createElement("button");
        button.textContent = kind;
        button.setAttribute("aria-label", `${name} as ${kind}`);
        button.addEventListener("click", () => {
          const link = document.createElement("a");
          link.href = URL.createObjectURL(new Blob([text()], {type}));
          link.download = name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") + "." + kind.toLowerCase();
          link.click();
          setTimeout(() => URL.revokeObjectURL(link.href), 60000);
        });
        line.append(button, " ");
      };
      line.className = "save";
      add("SVG", "image/svg+xml", () => {
        const copy = svg.cloneNode(true), style = document.createElementNS(svg.namespaceURI, "style");
        style.textContent = document.querySelector("style").textContent;
        copy.prepend(style);
        copy.removeAttribute("data-numbers");
        const [, , width, height] = svg.getAttribute("viewBox").split(" ");
        copy.setAttribute("width", 2 * width);
        copy.setAttribute("height", 2 * height);
        return new XMLSerializer().serializeToString(copy);
      });
      if (svg.dataset.numbers) add("CSV", "text/csv", () => svg.dataset.numbers);
      svg.closest("figure").append(line);
    };
    // Those that the page came with, once its own script has given them numbers.
    const figures = [...document.querySelectorAll("figure > svg.plot")];
    addEventListener("DOMContentLoaded", () => figures.forEach(svg => offerSaving(svg)));
    """
