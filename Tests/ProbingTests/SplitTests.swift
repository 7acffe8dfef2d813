import Probing
import Testing

/// Rows are split as sae-probes does it: numbers are those of NumPy 2.4 and of sae-probes 0.4.2.
@Suite struct SplitTests {
    @Test func `numbers are those of NumPy's RandomState`() {
        var random = NumpyRandom(seed: 42)
        #expect(random.permutation(Array(0..<10)) == [8, 1, 5, 0, 7, 2, 9, 4, 3, 6])
        #expect(random.permutation(Array(0..<1000)).prefix(8) == [629, 788, 684, 516, 529, 657, 552, 531])
        #expect(random.choice(Array(100..<400), count: 5) == [243, 230, 246, 276, 289])
        #expect(random.permutation([5, 6, 7]) == [5, 7, 6])
        random = NumpyRandom(seed: 4_000_000_000)
        #expect(random.permutation(Array(0..<12)) == [6, 8, 0, 7, 11, 4, 9, 1, 3, 5, 2, 10])
    }

    @Test func `rows are split as sae-probes splits them`() throws {
        let labels = (0..<700).map { ($0 * $0 / 3) % 2 == 1 }
        let split = try ProbeSplit(labels: labels, task: "t")
        #expect(split.train.count == 600 && split.test.count == 99 && split.validationCount == 100)
        #expect(split.train.prefix(6) == [276, 493, 459, 67, 372, 15])
        #expect(split.test.prefix(6) == [7, 105, 200, 37, 659, 177])
        #expect(split.train.reduce(0, +) == 208_402 && split.test.reduce(0, +) == 35_726)
        #expect(split.train.enumerated().reduce(0) { $0 + $1.offset * $1.element } == 61_163_366)
    }

    @Test func `at most 1,024 rows are learnt from, and none twice`() throws {
        let split = try ProbeSplit(labels: (0..<3000).map { $0 % 2 == 0 }, task: "t")
        #expect(split.train.count == 1024 && split.test.count == 1975)
        #expect(Set(split.train + split.test).count == 2999)
        #expect(split.train.count { $0 % 2 == 0 } == 512 && split.test.count { $0 % 2 == 0 } == 988)
    }

    @Test(arguments: [227, 150, 99, 0]) func `a task with too few rows is refused by name`(rows: Int) {
        #expect(throws: ProbingError.tooFewRows(task: "t", positive: (rows + 1) / 2, negative: rows / 2)) {
            try ProbeSplit(labels: (0..<rows).map { $0 % 2 == 0 }, task: "t")
        }
    }

    @Test func `a class that is too rare is refused`() {
        #expect(throws: ProbingError.tooFewRows(task: "t", positive: 120, negative: 380)) {
            try ProbeSplit(labels: (0..<500).map { $0 < 120 }, task: "t")
        }
    }
}
