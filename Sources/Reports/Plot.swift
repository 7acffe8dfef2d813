import Attribution

/// A plot of curves or points as SVG.
///
/// By hand: a plotting library is a script for the page to fetch, and a page is one file that is still
/// read in ten years.
package struct Plot {
    /// A curve, with a band and markers if it has them.
    package struct Curve {
        var series: Series
        var points: [(x: Double, y: Double)]
        var band: [(low: Double, high: Double)]
        var hasMarkers: Bool

        package init(
            series: Series, points: [(x: Double, y: Double)], band: [(low: Double, high: Double)] = [],
            hasMarkers: Bool = false
        ) {
            (self.series, self.points, self.band, self.hasMarkers) = (series, points, band, hasMarkers)
        }
    }

    /// A marker with a few letters beside it.
    package struct Mark {
        var series: Series
        var x: Double
        var y: Double
        var name: String

        package init(series: Series, x: Double, y: Double, name: String) {
            (self.series, self.x, self.y, self.name) = (series, x, y, name)
        }
    }

    /// A line up and down through a marker, from the one end of an interval to the other.
    struct Whisker {
        var series: Series
        var x: Double
        var limits: ClosedRange<Double>
    }

    /// A part of a bar, from one height to another.
    struct BarPart {
        var x: Double
        var heights: ClosedRange<Double>
        var color: OrderedColor
        var name: String
        /// Read out, and shown on pointing at it.
        var title: String
    }

    var x: Axis
    var y: Axis
    var bars: [BarPart] = []
    package var curves: [Curve] = []
    package var marks: [Mark] = []
    var whiskers: [Whisker] = []
    /// Dots without names, whose group gets this id.
    var dots: (id: String, points: [(x: Double, y: Double)])?
    /// Dotted lines across or up the frame, with an id each and, across, what stands on them.
    var guides: [(id: String, value: Double, isUpright: Bool, name: String)] = []

    package init(x: Axis, y: Axis) { (self.x, self.y) = (x, y) }

    static let (width, height) = (400.0, 290.0)
    /// Left of it is room for labels of seven characters, as "−0.0005", beside the title.
    static let frame = (left: 74.0, top: 10.0, width: 316.0, height: 230.0)

    /// Where a point lies in the picture.
    private func place(_ x: Double, _ y: Double) -> (Double, Double)? {
        guard let across = self.x.place(x), let up = self.y.place(y) else { return nil }
        let f = Self.frame
        return (f.left + across * f.width, f.top + (1 - up) * f.height)
    }

    /// The picture; `label` is read out in its place. The titles of its axes get the ids `id`-x and `id`-y.
    /// `names` are those of the legend, by series, for the numbers that the picture brings with it.
    package func svg(label: String, names: [String] = [], id: String? = nil) -> String {
        // Dots are moved by a script, which has their numbers.
        let numbers = dots == nil ? " data-numbers=\"\(escape(numbers(names)))\"" : ""
        return
            "<svg class=\"plot\" viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" aria-label=\"\(escape(label))\"\(numbers)>"
            + axes(id) + bars.map(part).joined() + guideLines() + curves.map(band).joined() + curves.map(line).joined()
            + dotGroup() + whiskers.map(whisker).joined() + namedMarks()
            + "</svg>"
    }

    private func axes(_ id: String?) -> String {
        let f = Self.frame
        let (bottom, middle) = (f.top + f.height, f.top + f.height / 2)
        var svg = "<path class=\"frame\" d=\"M\(pixel(f.left)) \(pixel(f.top))v\(pixel(f.height))h\(pixel(f.width))\"/>"
        for tick in x.ticks {
            guard let across = x.place(tick.at) else { continue }
            let at = pixel(f.left + across * f.width)
            svg += "<path class=\"frame\" d=\"M\(at) \(pixel(bottom))v4\"/>"
            svg += "<text x=\"\(at)\" y=\"\(pixel(bottom + 17))\" text-anchor=\"middle\">\(escape(tick.label))</text>"
        }
        for tick in y.ticks {
            guard let up = y.place(tick.at) else { continue }
            let at = f.top + (1 - up) * f.height
            svg += "<path class=\"frame grid-line\" d=\"M\(pixel(f.left)) \(pixel(at))h\(pixel(f.width))\"/>"
            svg +=
                "<text x=\"\(pixel(f.left - 6))\" y=\"\(pixel(at + 4))\" text-anchor=\"end\">\(escape(tick.label))</text>"
        }
        func named(_ axis: String) -> String { id.map { " id=\"\($0)-\(axis)\"" } ?? "" }
        svg +=
            "<text\(named("x")) x=\"\(pixel(f.left + f.width / 2))\" y=\"\(pixel(Self.height - 8))\" text-anchor=\"middle\">"
        svg += "\(escape(x.title))</text>"
        svg += "<text\(named("y")) x=\"12\" y=\"\(pixel(middle))\" text-anchor=\"middle\" "
        return svg + "transform=\"rotate(-90 12 \(pixel(middle)))\">\(escape(y.title))</text>"
    }

    private func guideLines() -> String {
        let f = Self.frame
        return guides.map { guide in
            guard let at = guide.isUpright ? x.place(guide.value) : y.place(guide.value) else { return "" }
            let start =
                guide.isUpright
                ? "M\(pixel(f.left + at * f.width)) \(pixel(f.top))v\(pixel(f.height))"
                : "M\(pixel(f.left)) \(pixel(f.top + (1 - at) * f.height))h\(pixel(f.width))"
            // At the left end, where curves begin elsewhere than near a guide.
            let name =
                guide.name.isEmpty
                ? ""
                : "<text x=\"\(pixel(f.left + 6))\" y=\"\(pixel(f.top + (1 - at) * f.height - 5))\">\(escape(guide.name))</text>"
            return "<path class=\"guide\" id=\"\(guide.id)\" d=\"\(start)\"/>" + name
        }.joined()
    }

    private func part(_ part: BarPart) -> String {
        let slot = Self.frame.width / max(1, x.range.upperBound - x.range.lowerBound)
        let width = slot * 0.8
        guard let (middle, bottom) = place(part.x, part.heights.lowerBound),
            let (_, top) = place(part.x, part.heights.upperBound)
        else { return "" }
        var svg =
            "<rect class=\"part\" x=\"\(pixel(middle - width / 2))\" y=\"\(pixel(top))\" width=\"\(pixel(width))\" "
        svg +=
            "height=\"\(pixel(max(0.5, bottom - top)))\" fill=\"\(part.color.fill)\"><title>\(escape(part.title))</title></rect>"
        guard bottom - top >= 13, width >= 7 * Double(part.name.count) + 4 else { return svg }
        svg += "<text x=\"\(pixel(middle))\" y=\"\(pixel((top + bottom) / 2 + 4))\" text-anchor=\"middle\" "
        return svg + "style=\"fill:\(part.color.ink)\">\(escape(part.name))</text>"
    }

    private func whisker(_ whisker: Whisker) -> String {
        guard let (across, bottom) = place(whisker.x, whisker.limits.lowerBound),
            let (_, top) = place(whisker.x, whisker.limits.upperBound)
        else { return "" }
        let (left, height) = (pixel(across - 4), pixel(bottom - top))
        return
            "<path class=\"whisker\" d=\"M\(left) \(pixel(top))h8m-4 0v\(height)m-4 0h8\" stroke=\"\(whisker.series.color)\"/>"
    }

    private func band(_ curve: Curve) -> String {
        var low: [String] = []
        var high: [String] = []
        for (point, limits) in zip(curve.points, curve.band) {
            guard let below = place(point.x, limits.low), let above = place(point.x, limits.high) else { continue }
            low.append("\(pixel(below.0)),\(pixel(below.1))")
            high.append("\(pixel(above.0)),\(pixel(above.1))")
        }
        guard low.count > 1 else { return "" }
        let outline = (high + low.reversed()).joined(separator: " ")
        return "<polygon points=\"\(outline)\" fill=\"\(curve.series.color)\" opacity=\".16\"/>"
    }

    /// A curve is torn where a point has no place.
    private func line(_ curve: Curve) -> String {
        let placed = curve.points.map { place($0.x, $0.y) }
        var svg = placed.split { $0 == nil }.map { part in
            let points = part.compactMap { $0 }.map { "\(pixel($0.0)),\(pixel($0.1))" }.joined(separator: " ")
            return "<polyline points=\"\(points)\" stroke-width=\"1.8\" \(curve.series.stroke)/>"
        }.joined()
        if curve.hasMarkers {
            svg += placed.compactMap { $0 }.map { curve.series.marker($0.0, $0.1, size: 0.7) }.joined()
        }
        return svg
    }

    private func dotGroup() -> String {
        guard let dots else { return "" }
        return "<g id=\"\(dots.id)\" class=\"dots\">"
            + dots.points.compactMap { place($0.x, $0.y) }
            .map { "<circle cx=\"\(pixel($0.0))\" cy=\"\(pixel($0.1))\" r=\"2\"/>" }.joined() + "</g>"
    }

    /// Markers, each with its name on the side where it covers nothing else; where every side is taken the name is
    /// left to the legend.
    private func namedMarks() -> String {
        let placed = marks.compactMap { mark in place(mark.x, mark.y).map { (mark, $0) } }
        var taken = placed.map { LabelBox(x: $0.1.0 - 5, y: $0.1.1 - 5, width: 10, height: 10) }
        let frame = LabelBox(x: Self.frame.left, y: Self.frame.top, width: Self.frame.width, height: Self.frame.height)
        var svg = placed.map { $0.0.series.marker($0.1.0, $0.1.1) }.joined()
        for (mark, (px, py)) in placed where !mark.name.isEmpty {
            guard
                let box = LabelBox.around(px, py, characters: mark.name.count).first(where: { box in
                    frame.holds(box) && !taken.contains { $0.meets(box) }
                })
            else { continue }
            taken.append(box)
            svg += "<text x=\"\(pixel(box.x + box.width / 2))\" y=\"\(pixel(box.y + 10))\" text-anchor=\"middle\">"
            svg += "\(escape(mark.name))</text>"
        }
        return svg
    }
}

extension Plot {
    /// A marker with its interval at a place of an axis of names, where `count` series stand side by side.
    mutating func add(_ interval: Interval, at place: Int, _ series: Int, of count: Int) {
        let x = Double(place) + 0.5 * ((Double(series) + 0.5) / Double(count) - 0.5)
        marks.append(Mark(series: Series(series), x: x, y: interval.value, name: ""))
        guard interval.hasLimits else { return }
        whiskers.append(Whisker(series: Series(series), x: x, limits: interval.low...interval.high))
    }

    /// Every marker and end of an interval, which the axis must have room for.
    var intervalEnds: [Double] {
        marks.map(\.y) + whiskers.flatMap { [$0.limits.lowerBound, $0.limits.upperBound] }
    }
}

/// The room a name takes beside a marker.
private struct LabelBox {
    var x: Double
    var y: Double
    var width: Double
    var height: Double

    /// Places for a name of so many characters around a marker, the best first.
    static func around(_ px: Double, _ py: Double, characters: Int) -> [LabelBox] {
        let (width, height) = (7 * Double(characters) + 2, 13.0)
        return [
            (6.0, -6.5), (-6 - width, -6.5), (-width / 2, -19), (-width / 2, 6), (6, -19), (6, 6), (-6 - width, -19),
        ]
        .map { LabelBox(x: px + $0, y: py + $1, width: width, height: height) }
    }

    func meets(_ other: LabelBox) -> Bool {
        x < other.x + other.width && other.x < x + width && y < other.y + other.height && other.y < y + height
    }

    func holds(_ other: LabelBox) -> Bool {
        other.x >= x && other.y >= y && other.x + other.width <= x + width && other.y + other.height <= y + height
    }
}

/// A picture with its caption.
func figure(_ svg: String, _ caption: String) -> String {
    "<figure>\(svg)<figcaption>\(escape(caption))</figcaption></figure>"
}
