import TestSupport
import Testing

import Autointerp

/// Measures of answers against the definitions, and against numbers of scikit-learn.
@Suite struct AnswerCountsTests {
    @Test func countsAreThoseOfTheDefinition() {
        let truths = [true, true, true, true, true, false, false, false, false, true]
        let answers: [Bool?] = [true, true, true, false, nil, true, false, false, nil, false]
        let counts = AnswerCounts(truths: truths, answers: answers)
        #expect(counts.true_positives == 3 && counts.false_negatives == 2 && counts.false_positives == 1)
        #expect(counts.true_negatives == 2 && counts.unanswered == 2)
        // sklearn.metrics on the eight that were answered; quotients of small whole numbers.
        let measures = counts.measures
        #expect(measures.accuracy == 5 / 8.0 && measures.precision == 3 / 4.0 && measures.recall == 3 / 5.0)
        #expect(isNear(measures.balanced_accuracy, 0.6333333333333333, within: 1e-15))
        #expect(isNear(measures.f1, 0.6666666666666666, within: 1e-15))
        #expect(measures.answered == 0.8)
        #expect((counts + counts).measures == measures)
    }

    @Test func whatSaysNothingHasNoNumber() {
        let never = AnswerCounts(truths: [true, true, false], answers: [false, false, false]).measures
        #expect(never.precision == 0 && never.recall == 0 && never.f1 == 0 && never.balanced_accuracy == 0.5)
        let oneClass = AnswerCounts(truths: [false, false], answers: [false, true]).measures
        #expect(oneClass.balanced_accuracy.isNaN && oneClass.f1.isNaN && oneClass.recall.isNaN)
        #expect(oneClass.accuracy == 0.5 && oneClass.precision == 0)
        let nothing = AnswerCounts(truths: [true, false], answers: [nil, nil]).measures
        #expect(nothing.answered == 0)
        for path in AnswerMeasures.summed.map(\.path) { #expect(nothing[keyPath: path].isNaN) }
    }
}
