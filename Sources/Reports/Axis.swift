import Attribution
import Foundation
import TensorFiles

/// One axis of a plot.
package struct Axis {
    /// How values lie along it.
    package enum Scale: Sendable {
        case linear
        /// log(1 + x), so that 0 has a place.
        case logOnePlus
        /// Of values above 0.
        case log
    }

    package var title: String
    package var scale = Scale.linear
    package var range: ClosedRange<Double>
    /// Whether only whole numbers mean something on it.
    package var isWhole = false
    /// What stands at 0, 1, …, of an axis of names.
    private var names: [String] = []
    /// The same, whole.
    private var wholeNames: [String] = []

    /// An axis of names, each with the same room.
    init(title: String, names: [String]) {
        self.init(title: title, range: -0.5...(Double(max(1, names.count)) - 0.5), isWhole: true)
        // A letter of a label is about 7 wide.
        let room = Int(Plot.frame.width / Double(max(1, names.count)) / 7.5)
        self.names = names.map { fitted($0, max(1, room)) }
        wholeNames = names
    }

    /// An axis that ends where its range ends.
    package init(title: String, scale: Scale = .linear, range: ClosedRange<Double>, isWhole: Bool = false) {
        (self.title, self.scale, self.range, self.isWhole) = (title, scale, range, isWhole)
    }

    /// A place on it as a table has it: its name, or the number.
    func text(of value: Double) -> String {
        let place = value.rounded()
        guard !wholeNames.isEmpty, place >= 0, place < Double(wholeNames.count) else { return Self.text(value) }
        return wholeNames[Int(place)]
    }

    /// A number, whole ones without a point; nothing for what is none.
    static func text(_ value: Double) -> String {
        guard value.isFinite else { return "" }
        return abs(value) < 1e15 && value == value.rounded() ? "\(Int(value))" : "\(value)"
    }

    /// 0…1; values outside the range lie at its ends. Nil for what has no place: NaN, infinities, 0 on a log axis.
    package func place(_ value: Double) -> Double? {
        guard Self.isPossible(value), scale != .log || value > 0 else { return nil }
        let (low, high) = (bend(range.lowerBound), bend(range.upperBound))
        return high > low ? min(1, max(0, (bend(value) - low) / (high - low))) : 0.5
    }

    /// Records are read from files, and a range of larger numbers than these is none.
    static func isPossible(_ value: Double) -> Bool { abs(value) < 1e100 }

    private func bend(_ value: Double) -> Double {
        switch scale {
        case .linear: value
        case .logOnePlus: Foundation.log(1 + max(0, value))
        case .log: Foundation.log(max(value, .leastNormalMagnitude))
        }
    }

    /// Where the axis is marked, with what is written there; all ticks of one axis have the same number of decimals
    /// where it is linear.
    package var ticks: [(at: Double, label: String)] {
        guard names.isEmpty else { return names.enumerated().map { (Double($0.offset), $0.element) } }
        switch scale {
        case .linear: return linearTicks
        case .logOnePlus:
            return ([0] + (0..<16).map { pow(4, Double($0)) }).filter(range.contains).map { ($0, Self.plain($0)) }
        case .log:
            // Powers of ten where there are some, else 1, 2, 5; of a range still narrower, what a
            // linear axis would have.
            for digits in [[1.0], [1, 2, 5]] {
                let found = (-12..<13).flatMap { power in digits.map { $0 * pow(10, Double(power)) } }
                    .filter(range.contains)
                if found.count >= 3 { return found.map { ($0, Self.plain($0)) } }
            }
            return linearTicks.filter { $0.at > 0 }
        }
    }

    private var linearTicks: [(at: Double, label: String)] {
        let width = range.upperBound - range.lowerBound
        let largest = max(abs(range.lowerBound), abs(range.upperBound))
        // A range narrower than what Double tells apart near its ends has no ticks between them.
        guard width > 1e-12 * largest, width.isFinite else { return [(range.lowerBound, Self.plain(range.lowerBound))] }
        let power = pow(10, floor(log10(width / 5)))
        let fine = [1, 2, 5, 10].map { $0 * power }.first { $0 >= width / 5 * (1 - 1e-9) } ?? 10 * power
        let step = isWhole ? max(1, fine) : fine
        let places = max(0, Int((-log10(step) - 1e-9).rounded(.up)))
        let first = (range.lowerBound / step - 1e-9).rounded(.up)
        let last = (range.upperBound / step + 1e-9).rounded(.down)
        return stride(from: first, through: last, by: 1).map { tick in
            let value = tick * step
            return (value, places > 6 || abs(value) >= 1e7 ? "\(Float(value))" : short(value, places))
        }
    }

    private static func plain(_ value: Double) -> String {
        if value == value.rounded() && abs(value) < 1e7 { return "\(Int(value))" }
        return abs(value) < 1e-4 || abs(value) >= 1e7 ? "\(Float(value))" : "\(Float((value * 1e6).rounded() / 1e6))"
    }
}

/// A range that holds all finite values, a little wider, 0…1 where there are none; `low` is its lower end, if given.
package func range(_ values: some Sequence<Double>, from low: Double? = nil) -> ClosedRange<Double> {
    let known = values.filter(Axis.isPossible)
    guard let least = known.min(), let most = known.max() else { return 0...1 }
    // One value, or many that are the same, need a width that can be seen as a width.
    let margin = most > least ? (most - least) * 0.05 : max(abs(most) * 0.05, 1e-3)
    let bottom = low ?? (least - margin)
    return bottom...max(most + margin, bottom + margin)
}

/// A range for a log axis: all values above 0, a little wider.
package func logRange(_ values: some Sequence<Double>) -> ClosedRange<Double> {
    let known = values.filter { Axis.isPossible($0) && $0 > 1e-100 }
    guard let least = known.min(), let most = known.max() else { return 0.1...1 }
    let margin = max(1.1, pow(most / least, 0.05))
    return (least / margin)...(most * margin)
}
