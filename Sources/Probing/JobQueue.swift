import Synchronization

/// Jobs in an order, each given to one lane.
final class JobQueue: Sendable {
    private let jobs: [Int]
    private let taken = Atomic<Int>(0)

    init(_ jobs: [Int]) { self.jobs = jobs }

    func next() -> Int? {
        let index = taken.wrappingAdd(1, ordering: .relaxed).oldValue
        return index < jobs.count ? jobs[index] : nil
    }
}
