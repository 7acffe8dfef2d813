/// How long what is launched takes on the card, by name, from events around each launch: for benchmarks, since the events
/// themselves take a few microseconds.
package final class LaunchTimes {
    private var spans: [(name: String, start: DeviceEvent, end: DeviceEvent)] = []

    package init() {}

    func begin(_ name: String, on context: CUDAContext) throws(CUDAError) {
        let (start, end) = (try DeviceEvent(on: context, isTimed: true), try DeviceEvent(on: context, isTimed: true))
        spans.append((name, start, end))
        try start.record(on: context.stream)
    }

    func end(on context: CUDAContext) throws(CUDAError) { try spans[spans.count - 1].end.record(on: context.stream) }

    /// Seconds and launches of each name, the longest first, of all since it was made.
    package func totals() throws(CUDAError) -> [(name: String, seconds: Double, count: Int)] {
        var sums: [String: (Double, Int)] = [:]
        for span in spans {
            try span.end.synchronize()
            let seconds = try span.start.seconds(until: span.end)
            sums[span.name, default: (0, 0)].0 += seconds
            sums[span.name, default: (0, 0)].1 += 1
        }
        return sums.map { ($0.key, $0.value.0, $0.value.1) }.sorted { $0.1 > $1.1 }
    }
}
