/// Seconds of each part of each point of a sweep, by its name; kept in its folder.
public struct SweepTimes: Codable, Sendable {
    let seconds: [[String: Double]]

    /// A century: more is no time, and no sum of these overflows.
    private static let most = 3e9

    /// Times of these parts, in their order; nil where one has none. What a point has to do itself may have changed since: other sweeps
    /// go on, or are gone.
    func times(of parts: [[SweepPart]]) -> [[Double]]? {
        guard seconds.count == parts.count else { return nil }
        var result: [[Double]] = []
        for (own, known) in zip(parts, seconds) {
            let times = own.compactMap { known[$0.name] }.filter { $0 >= 0 && $0 <= Self.most }
            guard times.count == own.count else { return nil }
            result.append(times)
        }
        return result
    }

    /// Whether all that points have to do themselves has one.
    public func cover(_ points: [SweepPoint], _ work: SweepWork) -> Bool {
        times(of: points.map { work.parts(of: $0) }) != nil
    }
}
