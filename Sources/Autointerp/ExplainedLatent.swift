import Attribution
import TensorFiles

/// All that was asked and answered about one latent.
package struct ExplainedLatent: Codable, Sendable, Equatable {
    package var latent: Int
    /// Scored tokens at which it fires, and their share.
    package var firings: Int
    package var frequency: Double
    package var largest: Double
    /// What the explanation was written from.
    package var contexts: [Context]
    /// What the explaining model said of them.
    package var explaining: Exchange
    /// nil where it said nothing that is one; then nothing was asked.
    package var explanation: String?
    /// By method.
    package var scores: [String: TestedExplanation]

    /// A prompt, by its hash, and the answer.
    package struct Exchange: Codable, Sendable, Equatable {
        package var prompt_sha256: String
        package var answer: ChatAnswer

        package init(prompt_sha256: String, answer: ChatAnswer) {
            (self.prompt_sha256, self.answer) = (prompt_sha256, answer)
        }
    }

    /// Questions, as many at a time as a prompt holds, and answers.
    package struct TestedExplanation: Codable, Sendable, Equatable {
        package var questions: [Question]
        /// One for each question; null where the judge's answer was no list of as many numbers.
        package var answers: [Bool?]
        package var exchanges: [Exchange]
        package var counts: AnswerCounts
        package var measures: AnswerMeasures

        /// What `exchanges` say of `questions`, `shown` of them each.
        package init(questions: [Question], exchanges: [Exchange], shown: Int) {
            (self.questions, self.exchanges) = (questions, exchanges)
            answers = zip(Self.batches(questions, shown), exchanges).flatMap { batch, exchange in
                Prompts.judgements(in: exchange.answer, count: batch.count).map { $0.map { Optional($0) } }
                    ?? batch.map { _ in nil }
            }
            counts = AnswerCounts(truths: questions.map(\.truth), answers: answers)
            measures = counts.measures
        }

        package static func batches(_ questions: [Question], _ shown: Int) -> [[Question]] {
            stride(from: 0, to: questions.count, by: shown).map {
                Array(questions[$0..<min($0 + shown, questions.count)])
            }
        }
    }

    /// Requests that were answered, and their tokens where the server counts.
    package var usage: ChatUsage {
        ([explaining] + scores.values.flatMap(\.exchanges)).reduce(into: ChatUsage()) { $0.add($1.answer) }
    }
}

/// What questions cost.
package struct ChatUsage: Codable, Sendable, Equatable {
    package var requests = 0
    package var tokens_in = 0
    package var tokens_out = 0

    package init() {}

    mutating func add(_ answer: ChatAnswer) {
        requests += 1
        tokens_in += answer.tokens_in ?? 0
        tokens_out += answer.tokens_out ?? 0
    }

    package static func + (a: ChatUsage, b: ChatUsage) -> ChatUsage {
        var sum = a
        sum.requests += b.requests
        sum.tokens_in += b.tokens_in
        sum.tokens_out += b.tokens_out
        return sum
    }
}
