/// How one of several things looks wherever it appears: colour, dashes and marker, so that it is told from the others
/// without colours too.
///
/// Colours are those of Okabe and Ito, which the colour-blind tell apart, the light ones a little darker. With eight
/// colours, five dashes and seven markers no two of the first 40 look alike.
package struct Series {
    let index: Int
    /// A CSS colour.
    let color: String

    package init(_ index: Int) { (self.index, color) = (index, "var(--c\(index % 8))") }

    /// One of `count` in order, as values of a number are.
    init(_ index: Int, of count: Int) { (self.index, color) = (index, OrderedColor(line: index, of: count).fill) }

    /// SVG's stroke-dasharray; empty for a line without gaps.
    var dashes: String { ["", "7 3", "2 2.5", "9 3 2 3", "5 2 2 2 2 2"][index % 5] }

    /// Attributes of a stroke.
    var stroke: String {
        "fill=\"none\" stroke=\"\(color)\"" + (dashes.isEmpty ? "" : " stroke-dasharray=\"\(dashes)\"")
    }

    /// The marker around a point, 8 units wide times `size`.
    func marker(_ x: Double, _ y: Double, size: Double = 1) -> String {
        let shape =
            [
                "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "m-3.5-3.5h7v7h-7z", "m0-4.5l4.4 8h-8.8z",
                "m0-5l4.5 5l-4.5 5l-4.5-5z",
                "m0 4.5l4.4-8h-8.8z", "m-1.4-4.4h2.8v3h3v2.8h-3v3h-2.8v-3h-3v-2.8h3z", "m-4.5-2.6h9v5.2h-9z",
            ][index % 7]
        guard size != 1 else { return "<path d=\"M\(pixel(x)) \(pixel(y))\(shape)\" fill=\"\(color)\"/>" }
        return
            "<path transform=\"translate(\(pixel(x)) \(pixel(y))) scale(\(size))\" d=\"M0 0\(shape)\" fill=\"\(color)\"/>"
    }

    /// Its line and marker, to stand in text.
    func key(line: Bool = true) -> String {
        let width = line ? 28.0 : 12.0
        return
            "<svg class=\"key\" viewBox=\"0 0 \(Int(width)) 12\" style=\"width:\(Int(width))px\" aria-hidden=\"true\">"
            + (line ? "<path d=\"M0 6H28\" stroke-width=\"2\" \(stroke)/>" : "") + marker(width / 2, 6) + "</svg>"
    }
}

/// What the lines and markers of a figure are.
func legend(_ names: [String], line: Bool = true) -> String {
    legend(names.enumerated().map { ($0.element, Series($0.offset)) }, line: line)
}

/// The same of things that look otherwise than their place in the list says.
func legend(_ names: [(name: String, series: Series)], line: Bool = true) -> String {
    "<div class=\"legend\">"
        + names.map { "<span>\($0.series.key(line: line)) \(escape($0.name))</span>" }.joined() + "</div>"
}

/// A coordinate, to a tenth.
func pixel(_ value: Double) -> String {
    // What has no place in a picture, whatever it came from, must not end the report.
    guard abs(value) < 1e9 else { return "0" }
    let tenths = Int((value * 10).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
}
