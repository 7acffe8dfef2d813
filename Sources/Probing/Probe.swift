import Glibc

/// A logistic regression on features of a task's rows, its C chosen by rows that it has not seen.
package struct Probe: Sendable {
    package let test_f1: Double
    package let test_acc: Double
    package let test_auc: Double
    /// Of the chosen C.
    package let val_auc: Double
    package let C: Double

    /// `numpy.logspace(-5, 5, 10)`.
    package static let strengths = (0..<10).map { pow(10, -5 + Double($0) * 10 / 9) }

    /// Learns from the split's training rows, of which the last choose C, the largest of those that do as well; then from all of them.
    ///
    /// - Throws: `ProbingError.unsolved`.
    package init(_ features: FeatureRows, _ labels: [Bool], _ split: ProbeSplit, task: String) throws {
        let (train, test) = (features.rows(split.train), features.rows(split.test))
        let (trainLabels, testLabels) = (split.train.map { labels[$0] }, split.test.map { labels[$0] })
        let learnt = split.train.count - split.validationCount
        let validation = train.rows(learnt..<split.train.count), validationLabels = Array(trainLabels[learnt...])
        // Products of rows are made once for both.
        let rows = 2 * train.columnCount > train.rowCount ? RowForm(train) : nil
        func path(first n: Int, _ C: [Double]) -> [LogisticRegression?] {
            let some = Array(trainLabels[..<n])
            if let rows { return LogisticRegression.path(rows.first(n), some, C: C) }
            return LogisticRegression.path(FeatureForm(train.rows(0..<n)), some, C: C)
        }
        var best = (C: Self.strengths[0], auc: -1.0)
        for (C, found) in zip(Self.strengths, path(first: learnt, Self.strengths)) {
            guard let found else { throw ProbingError.unsolved(task: task, C: C) }
            // Without both classes nothing can be told.
            let auc = ProbeMetrics.auc(found.scores(validation), validationLabels) ?? 0.5
            if auc >= best.auc { best = (C, auc) }
        }
        guard let found = path(first: split.train.count, [best.C])[0] else {
            throw ProbingError.unsolved(task: task, C: best.C)
        }
        let scores = found.scores(test)
        (C, val_auc) = best
        test_auc = ProbeMetrics.auc(scores, testLabels) ?? 0.5
        test_acc = ProbeMetrics.accuracy(scores, testLabels)
        test_f1 = ProbeMetrics.weightedF1(scores, testLabels)
    }
}
