import Attribution

/// What one SAE is more or less by than another, at one value of a swept key and one k, over seeds: two trials of one point, or one trial
/// at two values of the key.
///
/// Where other keys are swept too, differences of a seed are averaged first: points of one seed share what they are made from, and only
/// seeds are drawn anew.
public struct SweepDifference: Sendable {
    /// Of the key, as rows have it; "" where all points are taken as one.
    public let value: String
    public let k: Double
    public let trial: String
    /// What it is held against: another trial, or the other value of the key.
    public let reference: String
    /// One a seed, the one less the reference.
    public let bySeed: [Double]

    /// Their mean with its 95% t interval, which takes three seeds.
    public var interval: Interval { Interval(meanOf: bySeed) }
}

extension SweepTable {
    /// Each trial less the first one with the distilled core, at each value of an axis, or over all points, in the order of rows.
    public func differences(in measure: SweepMeasure, over axis: Int?) -> [SweepDifference] {
        differences(in: measure, over: axis) { row in
            guard let reference = row.reference,
                let other = rows.first(where: {
                    $0.point == row.point && $0.seed == row.seed && $0.k == row.k && $0.trial == reference
                })
            else { return nil }
            return (other, reference)
        }
    }

    /// Each trial at each other value of an axis less the same at `base`, with all other keys equal, in the order of rows.
    ///
    /// - Parameter isAlongK: k is not the same at the two, since it follows from the key.
    public func differences(
        in measure: SweepMeasure, betweenValuesOf axis: Int, from base: String, isAlongK: Bool
    ) -> [SweepDifference] {
        differences(in: measure, over: axis) { row in
            guard row.values[axis] != base else { return nil }
            var values = row.values
            values[axis] = base
            return rows.first {
                $0.values == values && $0.seed == row.seed && $0.trial == row.trial && (isAlongK || $0.k == row.k)
            }
            .map { ($0, base) }
        }
    }

    /// Differences of rows from those that `partner` finds for them, and what these are called.
    private func differences(
        in measure: SweepMeasure, over axis: Int?, partner: (Row) -> (Row, String)?
    ) -> [SweepDifference] {
        struct Place: Hashable { var value: String, k: Double, trial: String, reference: String }
        struct Pair { var seed: Int, others: [String], difference: Double }
        let seedAxis = axes.firstIndex { $0.key == "seed" }
        var (order, pairs) = ([Place](), [Place: [Pair]]())
        for row in rows {
            guard let own = row.measures[measure], let (found, reference) = partner(row),
                let other = found.measures[measure]
            else { continue }
            let place = Place(
                value: axis.map { row.values[$0] } ?? "", k: row.k, trial: row.trial, reference: reference)
            let others = row.values.indices.filter { $0 != axis && $0 != seedAxis }.map { row.values[$0] }
            if pairs[place] == nil { order.append(place) }
            pairs[place, default: []].append(Pair(seed: row.seed, others: others, difference: own - other))
        }
        return order.map { place in
            let all = pairs[place] ?? [], settings = Set(all.map(\.others)).count
            // A seed without one of the points would be a mean over other settings.
            let bySeed = Dictionary(grouping: all, by: \.seed).filter { $0.value.count == settings }
                .sorted { $0.key < $1.key }.map { $0.value.reduce(0) { $0 + $1.difference } / Double(settings) }
            return SweepDifference(
                value: place.value, k: place.k, trial: place.trial, reference: place.reference, bySeed: bySeed)
        }
    }
}
