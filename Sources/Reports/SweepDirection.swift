import Distillation

/// What a sweep is looked at along: one of its keys, with what there is at each of its values; or all points as one.
struct SweepDirection {
    /// nil: there is no key, or none but the seed.
    let axis: Int?
    let key: String
    /// From the least to the largest where they are numbers, else in the order of the sweep.
    let values: [String]
    /// The values, where all of them are numbers.
    let numbers: [Double]?

    init(_ table: SweepTable, axis: Int?) {
        self.axis = axis
        guard let axis else {
            (key, values, numbers) = ("all points", [""], nil)
            return
        }
        key = table.axes[axis].key
        let found = table.runs.map { $0.values[axis] }.distinct
        let known = found.compactMap { value in Self.number(value).map { (value, $0) } }
        // A run that is called 64 is no number.
        guard known.count == found.count, key != SweepTable.runKey else {
            (values, numbers) = (found, nil)
            return
        }
        let sorted = known.sorted { $0.1 < $1.1 }
        (values, numbers) = (sorted.map(\.0), sorted.map(\.1))
    }

    /// A number, or a list of one, as of `final.k`.
    private static func number(_ value: String) -> Double? {
        let isList = value.hasPrefix("[") && value.hasSuffix("]")
        let number = Double(isList ? String(value.dropFirst().dropLast()) : value)
        return number.flatMap { Axis.isPossible($0) ? $0 : nil }
    }

    /// Whether k is another at each value.
    var isAlongK: Bool { key == "final.k" || key == "train.k" }

    /// As legends and bars have them.
    var names: [String] { axis == nil ? [key] : values }

    /// How the curve of a value looks.
    func series(_ index: Int) -> Series { numbers == nil ? Series(index) : Series(index, of: values.count) }

    /// Whether something is at a value.
    func has(_ own: [String], _ index: Int) -> Bool { axis.map { own[$0] == values[index] } ?? true }

    /// Runs of the points at a value.
    func runs(_ index: Int, of table: SweepTable) -> [SweepTable.Run] { table.runs.filter { has($0.values, index) } }

    /// "distill.tau 0.5", or nothing where all points are one.
    func place(_ value: String) -> String { axis == nil ? "" : "\(key) \(value)" }
}

extension Sequence where Element: Hashable {
    /// Each once, in order.
    var distinct: [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}
