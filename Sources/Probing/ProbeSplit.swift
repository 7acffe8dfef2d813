/// Which rows of a task a probe learns from and which it is tested on, as sae-probes' "normal" setting draws them.
package struct ProbeSplit: Sendable, Equatable {
    /// Rows to learn from, in an order drawn; the last of them choose C.
    package let train: [Int]
    package let test: [Int]

    /// Rows that choose C: a fifth, at most 100.
    package var validationCount: Int { min(train.count / 5, 100) }

    /// Half of each part of either class, rounded up for the second. The seed is sae-probes'.
    ///
    /// - Throws: `ProbingError.tooFewRows`.
    package init(labels: [Bool], task: String, seed: UInt32 = 42) throws {
        var random = NumpyRandom(seed: seed)
        let trainCount = min(labels.count - 100, 1024)
        let testCount = labels.count - trainCount - 1
        let (positive, negative) = (labels.indices.filter { labels[$0] }, labels.indices.filter { !labels[$0] })
        let (trainHalf, testHalf) = ((trainCount + 1) / 2, (testCount + 1) / 2)
        // Below 128 rows sae-probes chooses C by folds; no task of it is so small.
        guard trainCount >= 128, positive.count >= trainHalf + testHalf,
            negative.count >= trainCount - trainHalf + testCount - testHalf
        else { throw ProbingError.tooFewRows(task: task, positive: positive.count, negative: negative.count) }
        let trainPositive = random.choice(positive, count: trainHalf)
        let trainNegative = random.choice(negative, count: trainCount - trainHalf)
        let taken = Set(trainPositive + trainNegative)
        let testPositive = random.choice(positive.filter { !taken.contains($0) }, count: testHalf)
        let testNegative = random.choice(negative.filter { !taken.contains($0) }, count: testCount - testHalf)
        train = random.permutation(trainPositive + trainNegative)
        test = random.permutation(testPositive + testNegative)
    }
}
