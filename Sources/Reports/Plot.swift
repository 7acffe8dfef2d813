import Attribution
import Foundation

/// A plot of curves or points as SVG.
struct Plot {
    /// How values lie along an axis.
    enum Scale {
        case linear
        /// log(1 + x), so that 0 has a place.
        case logOnePlus
        case log
    }

    /// One axis.
    struct Axis {
        var title: String
        var scale = Scale.linear
        var range: ClosedRange<Double>

        /// 0…1
        func place(_ value: Double) -> Double {
            let (low, high) = (bend(range.lowerBound), bend(range.upperBound))
            return high > low ? min(1, max(0, (bend(value) - low) / (high - low))) : 0.5
        }

        private func bend(_ value: Double) -> Double {
            switch scale {
            case .linear: value
            case .logOnePlus: Foundation.log(1 + max(0, value))
            case .log: Foundation.log(max(value, 1e-12))
            }
        }

        var ticks: [Double] {
            switch scale {
            case .linear:
                let width = range.upperBound - range.lowerBound
                guard width > 0 else { return [range.lowerBound] }
                let rough = width / 5
                let power = pow(10, floor(log10(rough)))
                let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough } ?? rough
                let first = Int((range.lowerBound / step - 1e-9).rounded(.up))
                let last = Int((range.upperBound / step + 1e-9).rounded(.down))
                return first <= last ? (first...last).map { Double($0) * step } : []
            case .logOnePlus:
                return ([0] + (0..<20).map { pow(4, Double($0)) }).filter { range.contains($0) }
            case .log:
                return (-6..<8).map { pow(10, Double($0)) }.filter { range.contains($0) }
            }
        }
    }

    /// A curve, with a band if it has one.
    struct Curve {
        var color: Int
        var points: [(x: Double, y: Double)]
        var band: [(low: Double, high: Double)] = []
    }

    /// A point with a name.
    struct Mark {
        var color: Int
        var x: Double
        var y: Double
        var name: String
    }

    var x: Axis
    var y: Axis
    var curves: [Curve] = []
    var marks: [Mark] = []
    /// Dots without names, whose group gets this id.
    var dots: (id: String, points: [(x: Double, y: Double)])?

    static let (width, height) = (460.0, 300.0)
    static let frame = (left: 52.0, top: 10.0, width: 396.0, height: 246.0)

    private func place(_ x: Double, _ y: Double) -> (Double, Double) {
        let f = Self.frame
        return (f.left + self.x.place(x) * f.width, f.top + (1 - self.y.place(y)) * f.height)
    }

    private func number(_ value: Double) -> String {
        if value == value.rounded() && abs(value) < 1e6 { return "\(Int(value))" }
        return String(Float((value * 1e6).rounded() / 1e6))
    }

    private func pixel(_ value: Double) -> String { String(Float((value * 10).rounded() / 10)) }

    /// The picture; `label` is read out in its place.
    func svg(label: String) -> String {
        let f = Self.frame
        var svg =
            "<svg viewBox=\"0 0 \(Int(Self.width)) \(Int(Self.height))\" role=\"img\" aria-label=\"\(escape(label))\">"
        svg += "<rect class=\"frame\" x=\"\(f.left)\" y=\"\(f.top)\" width=\"\(f.width)\" height=\"\(f.height)\"/>"
        for tick in x.ticks {
            let at = pixel(place(tick, y.range.lowerBound).0)
            svg += "<path class=\"frame\" d=\"M\(at) \(f.top + f.height)v4\"/>"
            svg += "<text x=\"\(at)\" y=\"\(f.top + f.height + 16)\" text-anchor=\"middle\">\(number(tick))</text>"
        }
        for tick in y.ticks {
            let at = place(x.range.lowerBound, tick).1
            svg += "<path class=\"frame\" d=\"M\(f.left) \(pixel(at))h\(f.width)\" stroke-dasharray=\"1 4\"/>"
            svg += "<text x=\"\(f.left - 6)\" y=\"\(pixel(at + 4))\" text-anchor=\"end\">\(number(tick))</text>"
        }
        svg +=
            "<text x=\"\(f.left + f.width / 2)\" y=\"\(Self.height - 8)\" text-anchor=\"middle\">\(escape(x.title))</text>"
        svg +=
            "<text x=\"12\" y=\"\(f.top + f.height / 2)\" text-anchor=\"middle\" transform=\"rotate(-90 12 \(f.top + f.height / 2))\">\(escape(y.title))</text>"
        for curve in curves where !curve.band.isEmpty {
            let there = zip(curve.points, curve.band).map { pair($0.0.x, $0.1.high) }
            let back = zip(curve.points, curve.band).reversed().map { pair($0.0.x, $0.1.low) }
            svg +=
                "<polygon points=\"\((there + back).joined(separator: " "))\" fill=\"\(Reports.color(curve.color))\" opacity=\".14\"/>"
        }
        for curve in curves {
            let points = curve.points.map { pair($0.x, $0.y) }.joined(separator: " ")
            svg +=
                "<polyline points=\"\(points)\" fill=\"none\" stroke=\"\(Reports.color(curve.color))\" stroke-width=\"1.8\"/>"
        }
        if let dots {
            svg += "<g id=\"\(dots.id)\" fill=\"var(--c0)\" opacity=\".55\">"
            for point in dots.points {
                let (px, py) = place(point.x, point.y)
                svg += "<circle cx=\"\(pixel(px))\" cy=\"\(pixel(py))\" r=\"2\"/>"
            }
            svg += "</g>"
        }
        for mark in marks {
            let (px, py) = place(mark.x, mark.y)
            let isRight = px > f.left + f.width * 0.6
            svg += "<circle cx=\"\(pixel(px))\" cy=\"\(pixel(py))\" r=\"4\" fill=\"\(Reports.color(mark.color))\"/>"
            svg +=
                "<text x=\"\(pixel(px + (isRight ? -7 : 7)))\" y=\"\(pixel(py - 5))\" text-anchor=\"\(isRight ? "end" : "start")\">\(escape(mark.name))</text>"
        }
        return svg + "</svg>"
    }

    private func pair(_ x: Double, _ y: Double) -> String {
        let (px, py) = place(x, y)
        return "\(pixel(px)),\(pixel(py))"
    }
}

/// A range that holds all finite values, a little wider.
func range(_ values: some Sequence<Double>, from low: Double? = nil) -> ClosedRange<Double> {
    let known = values.filter(\.isFinite)
    guard let least = known.min(), let most = known.max() else { return 0...1 }
    let margin = max((most - least) * 0.05, 1e-9)
    return (low ?? (least - margin))...(max(most + margin, (low ?? -.infinity) + 1e-9))
}

/// A picture with its caption.
func figure(_ svg: String, _ caption: String) -> String {
    "<figure>\(svg)<figcaption>\(escape(caption))</figcaption></figure>"
}
