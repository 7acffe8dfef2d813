import Attribution

/// What a trial is more or less by than the first one with the distilled core, at one value of a swept key and one k, over seeds.
///
/// Each difference is between two SAEs of one point. Where other keys are swept too, those of a seed are averaged first: points of one
/// seed share what they are made from, and only seeds are drawn anew.
public struct SweepDifference: Sendable {
    /// Of the key, as rows have it; "" where all points are taken as one.
    public let value: String
    public let k: Double
    public let trial: String
    /// What it is held against.
    public let reference: String
    /// One a seed, trial less reference.
    public let bySeed: [Double]

    /// Their mean with its 95% t interval, which takes three seeds.
    public var interval: Interval { Interval(meanOf: bySeed) }
}

extension SweepTable {
    /// Differences at each value of an axis, or over all points, in the order of rows.
    public func differences(in measure: SweepMeasure, over axis: Int?) -> [SweepDifference] {
        struct Place: Hashable { var value: String, k: Double, trial: String, reference: String }
        struct Pair { var seed: Int, others: [String], difference: Double }
        let seedAxis = sweep.axes.firstIndex { $0.key == "seed" }
        var (order, pairs) = ([Place](), [Place: [Pair]]())
        for row in rows {
            guard let reference = row.reference, let own = row.measures[measure],
                let other = rows.first(where: { $0.point == row.point && $0.k == row.k && $0.trial == reference })?
                    .measures[measure]
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
