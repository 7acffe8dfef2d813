import TensorFiles

/// How far a sweep is, in seconds of work as its parts were measured.
///
/// It is read from the folders of its points, so that it is the same for points that were run elsewhere.
public struct SweepProgress {
    private let points: [SweepPoint]
    private let parts: [[SweepPart]]
    private let seconds: [[Double]]
    private let folder: String
    /// The part that a point is at, and since when.
    private var current: [Int: (part: Int, since: Double)] = [:]

    /// Without times of all parts a step counts 1, and what is no training nothing.
    public init(_ points: [SweepPoint], _ work: SweepWork, times: SweepTimes?, folder: String) {
        (self.points, self.folder) = (points, folder)
        parts = points.map { work.parts(of: $0) }
        seconds = times?.times(of: parts) ?? parts.map { $0.map { Double($0.steps) } }
    }

    /// Of all points, s.
    public var total: Double { seconds.joined().reduce(0, +) }

    /// What is done of it, s.
    ///
    /// - Parameters:
    ///   - running: points that are at work.
    ///   - ended: points that were. Nothing is left to wait for, also of one that has failed.
    ///   - time: now, s.
    public mutating func done(running: Set<Int>, ended: Set<Int> = [], at time: Double) -> Double {
        points.indices.reduce(0) { sum, p in
            let index = points[p].index
            return sum
                + (ended.contains(index)
                    ? seconds[p].reduce(0, +) : done(point: p, isRunning: running.contains(index), time))
        }
    }

    private mutating func done(point p: Int, isRunning: Bool, _ time: Double) -> Double {
        let run = folder + "/" + points[p].folder
        guard exists(run) else { return 0 }
        guard !exists(run + "/result.json"), let next = parts[p].firstIndex(where: { !$0.isDone(in: run) }) else {
            return seconds[p].reduce(0, +)
        }
        let before = seconds[p][..<next].reduce(0, +)
        guard isRunning else { return before }
        let part = parts[p][next]
        if current[p]?.part != next { current[p] = (next, time) }
        let since = current[p]?.since ?? time
        // Of what logs nothing the time tells. It may take longer than it should, and is not done then.
        let share =
            part.lastStep(in: run).map { Double($0 + 1) / Double(part.steps) }
            ?? (part.steps > 0 ? 0 : min(0.95, (time - since) / max(seconds[p][next], 1e-9)))
        return before + min(1, share) * seconds[p][next]
    }
}
