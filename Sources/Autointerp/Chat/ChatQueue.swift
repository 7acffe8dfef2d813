import LinearAlgebra
import TensorFiles

/// Questions on their way to a server: several at a time, asked again where the server was busy, slow or broken, after waits that double.
///
/// A server that refuses, or that stays away, ends it with an error: whatever it would have said, it has not, and numbers without its answers
/// would be others.
package final class ChatQueue {
    /// How patient it is.
    package struct Patience: Sendable {
        /// Questions at a time.
        package var concurrency = 4
        /// How often a question is asked again.
        package var retries = 6
        /// Seconds before the second try; each further wait is twice as long, all by a factor drawn from [½, 1½), at most `longestWait`.
        package var wait = 1.0
        package var longestWait = 60.0
        /// Seconds that a server may ask for (Retry-After) at most.
        package var longestAsked = 600.0

        package init() {}
    }

    private struct Question {
        let number: Int
        let body: [UInt8]
        var tries = 0
        var notBefore = 0.0
    }

    private let endpoint: ChatEndpoint
    private let transfers: any HTTPTransfers
    private let patience: Patience
    private let random: CounterRandom
    private let now: () -> Double
    private let notice: (String) -> Void
    private var waiting: [Question] = []
    private var asked: [Int: Question] = [:]
    /// A server that is busy is busy for all.
    private var heldUntil = -Double.infinity
    private var drawn: UInt64 = 0
    /// Requests that were sent, those of further tries too.
    package private(set) var sent = 0

    /// - Parameters:
    ///   - seed: of the waits.
    ///   - now: seconds of a clock that only runs forwards.
    ///   - notice: is told why somebody waits.
    package init(
        _ endpoint: ChatEndpoint, _ transfers: any HTTPTransfers, _ patience: Patience, seed: UInt64,
        now: @escaping () -> Double, notice: @escaping (String) -> Void
    ) {
        (self.endpoint, self.transfers, self.patience, self.now, self.notice) = (
            endpoint, transfers, patience, now, notice
        )
        random = CounterRandom(seed: seed, purpose: .retryWaits)
    }

    /// Questions without an answer.
    package var count: Int { waiting.count + asked.count }
    /// Questions at a time.
    package var concurrency: Int { patience.concurrency }

    /// Adds a question; its number comes back with the answer.
    package func ask(_ request: ChatRequest, number: Int) {
        waiting.append(Question(number: number, body: request.json))
    }

    /// Answers as they come: at least one, unless there is no question.
    ///
    /// - Parameter check: throws to stop; asked several times a second.
    /// - Throws: `ChatError`; what `check` throws.
    package func answers(check: () throws -> Void) throws -> [(number: Int, answer: ChatAnswer)] {
        var answers: [(number: Int, answer: ChatAnswer)] = []
        while answers.isEmpty && count > 0 {
            try check()
            start()
            for (number, outcome) in transfers.ended(within: timeToWait()) {
                guard let question = asked.removeValue(forKey: number) else { continue }
                if let answer = try settle(question, outcome) { answers.append((number, answer)) }
            }
        }
        return answers
    }

    private func start() {
        let time = now()
        guard time >= heldUntil else { return }
        while asked.count < patience.concurrency,
            let place = waiting.firstIndex(where: { $0.notBefore <= time })
        {
            var question = waiting.remove(at: place)
            question.tries += 1
            asked[question.number] = question
            sent += 1
            transfers.start(endpoint.post(question.body), number: question.number)
        }
    }

    /// Until something may happen, and no longer than somebody who wants to stop would like to wait.
    private func timeToWait() -> Double {
        let most = 0.2
        guard asked.count < patience.concurrency, let next = waiting.map(\.notBefore).min() else { return most }
        return max(0.001, min(most, max(next, heldUntil) - now()))
    }

    /// The answer; nil where it is asked for again.
    private func settle(_ question: Question, _ outcome: Result<HTTPReply, HTTPFailure>) throws -> ChatAnswer? {
        let reason: String
        var pause = 0.0
        switch outcome {
        case .success(let reply) where reply.status == 200:
            if let answer = ChatAnswer(reply.body) { return answer }
            reason = "an answer that is none of a chat: " + endpoint.quoted(String(decoding: reply.body, as: UTF8.self))
        case .success(let reply):
            let said = endpoint.quoted(Self.message(reply.body))
            guard HTTPStatus.isPassing(reply.status) else {
                throw ChatError.refused(url: endpoint.url, status: reply.status, said: said)
            }
            reason = "\(HTTPStatus.text(reply.status)): \(said)"
            pause = min(reply.retryAfter ?? 0, patience.longestAsked)
            heldUntil = max(heldUntil, now() + pause)
        case .failure(let failure):
            reason = failure.reason
            guard failure.isPassing else {
                throw ChatError.unanswered(url: endpoint.url, tries: question.tries, last: reason)
            }
        }
        guard question.tries <= patience.retries else {
            throw ChatError.unanswered(url: endpoint.url, tries: question.tries, last: reason)
        }
        var question = question
        let seconds = max(pause, wait(after: question.tries))
        question.notBefore = now() + seconds
        waiting.insert(question, at: 0)
        notice("try \(question.tries + 1) in \(decimals(seconds, 1)) s after \(reason)")
        return nil
    }

    private func wait(after tries: Int) -> Double {
        var seconds = patience.wait
        for _ in 1..<max(1, tries) { seconds = min(patience.longestWait, 2 * seconds) }
        let factor = 0.5 + Double(random.uniform(drawn))
        drawn += 1
        return min(patience.longestWait, seconds) * factor
    }

    /// What a server says of what went wrong: {"error": {"message": …}}, {"error": …} or {"message": …}, or the body as it is.
    private static func message(_ body: [UInt8]) -> String {
        let text = String(decoding: body, as: UTF8.self)
        guard let reply = try? JSONValue(parsing: text) else { return text }
        return reply["error"]?["message"]?.string ?? reply["error"]?.string ?? reply["message"]?.string ?? text
    }
}
