import Attribution

/// What a judge's answers came to. Questions that it did not answer count nowhere but in `unanswered`.
///
/// The measures are those of Delphi 0.1.3 (`compute_classification_metrics`), whose "accuracy" is the balanced one here. Where Delphi has 0
/// for a class nobody answered about, there is no number here.
package struct AnswerCounts: Codable, Sendable, Equatable {
    package var true_positives = 0
    package var false_positives = 0
    package var true_negatives = 0
    package var false_negatives = 0
    package var unanswered = 0

    package init() {}

    /// Of questions and answers, nil for none, in one order.
    package init(truths: [Bool], answers: [Bool?]) {
        for (truth, answer) in zip(truths, answers) {
            switch (truth, answer) {
            case (_, nil): unanswered += 1
            case (true, true?): true_positives += 1
            case (true, false?): false_negatives += 1
            case (false, true?): false_positives += 1
            case (false, false?): true_negatives += 1
            }
        }
    }

    /// Of all of them together.
    package static func + (a: AnswerCounts, b: AnswerCounts) -> AnswerCounts {
        var sum = a
        sum.true_positives += b.true_positives
        sum.false_positives += b.false_positives
        sum.true_negatives += b.true_negatives
        sum.false_negatives += b.false_negatives
        sum.unanswered += b.unanswered
        return sum
    }

    private var positives: Int { true_positives + false_negatives }
    private var negatives: Int { true_negatives + false_positives }

    /// Measures of the answers.
    package var measures: AnswerMeasures {
        func share(_ part: Int, _ whole: Int, of nothing: Double = .nan) -> Double {
            whole > 0 ? Double(part) / Double(whole) : nothing
        }
        var result = AnswerMeasures()
        let (recall, specificity) = (share(true_positives, positives), share(true_negatives, negatives))
        result.accuracy = share(true_positives + true_negatives, positives + negatives)
        // NaN where a class is missing.
        result.balanced_accuracy = (recall + specificity) / 2
        // Who never says yes is never right about it: 0, as Delphi and scikit-learn have it.
        result.precision =
            positives + negatives > 0 ? share(true_positives, true_positives + false_positives, of: 0) : .nan
        result.recall = recall
        // 2PR / (P + R).
        result.f1 =
            positives > 0 ? share(2 * true_positives, 2 * true_positives + false_positives + false_negatives) : .nan
        result.answered = share(positives + negatives, positives + negatives + unanswered)
        return result
    }
}

/// Measures of a judge's answers, each in [0, 1]; without a value where nothing was answered about a class that it takes.
package struct AnswerMeasures: Codable, Sendable, Equatable {
    /// (TP + TN) / answered.
    @Measured package var accuracy = Double.nan
    /// (TP / positives + TN / negatives) / 2; ½ is chance, whatever the judge is inclined to say.
    @Measured package var balanced_accuracy = Double.nan
    /// TP / (TP + FP).
    @Measured package var precision = Double.nan
    /// TP / positives.
    @Measured package var recall = Double.nan
    /// 2 TP / (2 TP + FP + FN).
    @Measured package var f1 = Double.nan
    /// The share of the questions that were answered.
    @Measured package var answered = Double.nan

    package init() {}

    /// What is told of sets of latents.
    package static let summed: [(name: String, path: KeyPath<AnswerMeasures, Double> & Sendable)] = [
        ("accuracy", \.accuracy), ("balanced_accuracy", \.balanced_accuracy), ("precision", \.precision),
        ("recall", \.recall), ("f1", \.f1),
    ]
}
