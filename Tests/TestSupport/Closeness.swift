import Testing

/// How far one row of numbers is from another.
public struct Closeness: Equatable {
    /// The largest |a − b|; ∞ where a value is not finite, where the counts differ and where there is nothing to
    /// compare, so that `difference < tolerance` is never true of them.
    public let difference: Double
    /// The largest |b|.
    public let scale: Double
    /// Where the difference is: the first value that is not finite, or else the largest difference. Nil without values.
    public let index: Int?

    /// Of found values to expected ones.
    ///
    /// A comparison with NaN is false and `max(0, NaN)` is 0, so a loop that keeps the largest difference forgets a NaN
    /// at the next element: the first value that is not finite ends this one.
    public init<Found: BinaryFloatingPoint, Expected: BinaryFloatingPoint>(_ found: [Found], _ expected: [Expected]) {
        guard found.count == expected.count, !found.isEmpty else {
            (difference, scale, index) = (.infinity, 0, nil)
            return
        }
        var (worst, largest, at) = (0.0, 0.0, 0)
        for i in found.indices {
            let (a, b) = (Double(found[i]), Double(expected[i]))
            guard a.isFinite, b.isFinite else {
                (difference, scale, index) = (.infinity, largest, i)
                return
            }
            largest = max(largest, abs(b))
            if abs(a - b) > worst { (worst, at) = (abs(a - b), i) }
        }
        (difference, scale, index) = (worst, largest, at)
    }

    /// Whether |a − b| ≤ tolerance · max|b| for every element; all zeros are close to all zeros only.
    public func isWithin(_ tolerance: Double) -> Bool { difference <= tolerance * scale }
}

/// The largest |a − b|; ∞ where a value is not finite or the counts differ.
public func largestDifference<Found: BinaryFloatingPoint, Expected: BinaryFloatingPoint>(
    _ found: [Found], _ expected: [Expected]
) -> Double {
    Closeness(found, expected).difference
}

/// The largest |a − b|, in units of the largest |b|; ∞ where a value is not finite or the counts differ.
public func relativeDifference<Found: BinaryFloatingPoint, Expected: BinaryFloatingPoint>(
    _ found: [Found], _ expected: [Expected]
) -> Double {
    let closeness = Closeness(found, expected)
    return closeness.difference == 0 ? 0 : closeness.difference / closeness.scale
}

/// Whether |a − b| ≤ tolerance · max(1, |b|), both finite: an infinite |b| would make every tolerance infinite.
public func isNear(_ found: Double, _ expected: Double, within tolerance: Double) -> Bool {
    found.isFinite && expected.isFinite && abs(found - expected) <= tolerance * max(1, abs(expected))
}

/// `checkClose` of rows in which NaN stands for what is not known: NaNs must be at the same places, something must be
/// known, and what is known be close.
public func checkCloseWhereKnown<Found: BinaryFloatingPoint, Expected: BinaryFloatingPoint>(
    _ found: [Found], _ expected: [Expected], tolerance: Double, _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard found.map(\.isNaN) == expected.map(\.isNaN) else {
        Issue.record("\(what): other values are known, or of another count", sourceLocation: sourceLocation)
        return
    }
    checkClose(
        found.filter { !$0.isNaN }, expected.filter { !$0.isNaN }, tolerance: tolerance, what,
        sourceLocation: sourceLocation)
}

/// Records an issue unless |a − b| ≤ tolerance · max|b| for every element.
public func checkClose<Found: BinaryFloatingPoint, Expected: BinaryFloatingPoint>(
    _ found: [Found], _ expected: [Expected], tolerance: Double, _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(found.count == expected.count && !found.isEmpty, "\(what): counts", sourceLocation: sourceLocation)
    let closeness = Closeness(found, expected)
    guard let i = closeness.index else { return }
    #expect(
        closeness.isWithin(tolerance),
        "\(what): element \(i) is \(found[i]), expected \(expected[i]); off by \(closeness.difference / max(closeness.scale, 1e-300)) of the largest",
        sourceLocation: sourceLocation)
}
