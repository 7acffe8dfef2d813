/// A colour of a scale from first to last: viridis, whose lightness rises evenly, so that the order shows to the
/// colour-blind and in grey as well; without its darkest tenth, which would not show on a dark page.
struct OrderedColor {
    private let red: Double
    private let green: Double
    private let blue: Double

    private static let viridis: [(Double, Double, Double)] = [
        (68, 1, 84), (70, 50, 126), (54, 92, 141), (39, 127, 142), (31, 161, 135), (74, 193, 109), (160, 218, 57),
        (253, 231, 37),
    ]

    /// The colour of one of `count` things in order.
    init(_ index: Int, of count: Int) { self.init(count > 1 ? Double(index) / Double(count - 1) : 1 / 3.0, upTo: 1) }

    /// The same for lines, without the lightest, which would not show on a light page.
    init(line index: Int, of count: Int) {
        self.init(count > 1 ? Double(index) / Double(count - 1) : 1 / 3.0, upTo: 0.78)
    }

    private init(_ place: Double, upTo end: Double) {
        let last = Self.viridis.count - 1
        let share = 0.1 + (end - 0.1) * place
        let at = share * Double(last)
        let below = min(Int(at), last - 1)
        let (a, b, part) = (Self.viridis[below], Self.viridis[below + 1], at - Double(below))
        (red, green, blue) = (a.0 + part * (b.0 - a.0), a.1 + part * (b.1 - a.1), a.2 + part * (b.2 - a.2))
    }

    /// A CSS colour.
    var fill: String { "rgb(\(Int(red.rounded())),\(Int(green.rounded())),\(Int(blue.rounded())))" }

    /// Black or white, whichever can be read on it.
    var ink: String { 0.299 * red + 0.587 * green + 0.114 * blue > 115 ? "#000" : "#fff" }
}

/// Names in order with their colours.
func orderedLegend(_ names: [String]) -> String {
    "<div class=\"legend\">"
        + names.enumerated().map { i, name in
            "<span><i style=\"background:\(OrderedColor(i, of: names.count).fill)\"></i> \(escape(name))</span>"
        }.joined() + "</div>"
}
