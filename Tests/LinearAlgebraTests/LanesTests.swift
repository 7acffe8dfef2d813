import Glibc
import LinearAlgebra
import Synchronization
import TestSupport
import Testing

@Suite struct LanesTests {
    /// What each lane was given.
    private func cuts(_ lanes: Lanes, _ n: Int, grain: Int) -> [Range<Int>?] {
        let found = Mutex([Range<Int>?](repeating: nil, count: lanes.count))
        lanes.forRanges(n, grain: grain) { lane, range in
            found.withLock {
                #expect($0[lane] == nil, "a lane got two ranges")
                $0[lane] = range
            }
        }
        return found.withLock { $0 }
    }

    @Test(arguments: [1, 2, 3, 7], [1, 16])
    func rangesCoverEverythingOnceAtMultiplesOfTheGrain(_ count: Int, _ grain: Int) {
        let lanes = Lanes(count: count)
        for n in [0, 1, 2, 15, 16, 17, 31, 32, 33, 100, 111, 112, 113, 1000] {
            let ranges = cuts(lanes, n, grain: grain).compactMap { $0 }
            #expect(ranges.flatMap(Array.init) == Array(0..<n), "\(n) over \(count) lanes")
            for range in ranges {
                #expect(!range.isEmpty && range.lowerBound % grain == 0)
                #expect(range.upperBound % grain == 0 || range.upperBound == n)
            }
            // No lane has more than one block above its share.
            let share = (n + grain - 1) / grain / count * grain
            #expect(ranges.allSatisfy { $0.count <= share + grain })
            #expect(cuts(lanes, n, grain: grain) == cuts(Lanes(count: count), n, grain: grain))
        }
    }

    @Test(arguments: [1, 2, 5]) func aRunVisitsEveryLaneOnce(_ count: Int) {
        let lanes = Lanes(count: count)
        let visits = Mutex([Int](repeating: 0, count: count))
        for _ in 0..<300 { lanes.run { lane in visits.withLock { $0[lane] += 1 } } }
        #expect(visits.withLock { $0 } == [Int](repeating: 300, count: count))
    }

    @Test func aRunInsideARunStaysOnItsLane() {
        let lanes = Lanes(count: 3)
        let visits = Mutex([Int](repeating: 0, count: 9))
        let moved = Atomic<Bool>(false)
        lanes.run { outer in
            let thread = pthread_self()
            lanes.run { inner in
                if pthread_equal(thread, pthread_self()) == 0 { moved.store(true, ordering: .relaxed) }
                visits.withLock { $0[outer * 3 + inner] += 1 }
            }
        }
        #expect(visits.withLock { $0 } == [Int](repeating: 1, count: 9))
        let hasMoved = moved.load(ordering: .relaxed)
        #expect(!hasMoved)
    }

    @Test func callersOnSeveralThreadsDoNotDisturbEachOther() async {
        let lanes = Lanes(count: 3)
        let sums = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<4 {
                group.addTask {
                    let sum = Atomic<Int>(0)
                    for _ in 0..<200 {
                        lanes.forRanges(1000) { _, range in
                            sum.add(range.reduce(0, +), ordering: .relaxed)
                        }
                    }
                    return sum.load(ordering: .relaxed)
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(sums == [Int](repeating: 200 * 499_500, count: 4))
    }

    @Test func lanesThatSleepWakeUpAgain() {
        let lanes = Lanes(count: 2)
        let visits = Atomic<Int>(0)
        for _ in 0..<5 {
            // Far longer than a lane spins before it sleeps.
            usleep(20_000)
            lanes.run { _ in visits.add(1, ordering: .relaxed) }
        }
        let count = visits.load(ordering: .relaxed)
        #expect(count == 10)
    }
}
