import TensorFiles
import TestSupport
import Testing

import Autointerp

/// What is done where a server is busy, slow, broken or says no, on a clock of the test's own.
@Suite struct ChatQueueTests {
    /// Answers each try in turn, and counts time by the waits that it is asked for.
    private final class Script: HTTPTransfers {
        var outcomes: [Result<HTTPReply, HTTPFailure>]
        var time = 0.0
        /// When each try came, and its question.
        var tries: [(time: Double, number: Int)] = []
        var most = 0
        private var running: [Int] = []

        init(_ outcomes: [Result<HTTPReply, HTTPFailure>]) { self.outcomes = outcomes }

        func start(_ post: HTTPPost, number: Int) {
            tries.append((time, number))
            running.append(number)
            most = max(most, running.count)
        }

        func ended(within seconds: Double) -> [(number: Int, outcome: Result<HTTPReply, HTTPFailure>)] {
            time += seconds
            guard !running.isEmpty else { return [] }
            return [(running.removeFirst(), outcomes.isEmpty ? Self.good : outcomes.removeFirst())]
        }

        static let good: Result<HTTPReply, HTTPFailure> = .success(
            HTTPReply(status: 200, body: Array(#"{"choices": [{"message": {"content": "yes"}}]}"#.utf8)))
    }

    private static func reply(_ status: Int, _ body: String = "", after: Double? = nil) -> Result<
        HTTPReply, HTTPFailure
    > {
        .success(HTTPReply(status: status, body: Array(body.utf8), retryAfter: after))
    }

    private func queue(_ script: Script, key: String? = nil, _ change: (inout ChatQueue.Patience) -> Void = { _ in })
        throws
        -> ChatQueue
    {
        var patience = ChatQueue.Patience()
        change(&patience)
        return ChatQueue(
            try ChatEndpoint("http://localhost/v1", key: key.map { ("KEY", $0) }), script, patience, seed: 1,
            now: { script.time }, notice: { _ in })
    }

    private let question = ChatRequest(model: "m", messages: [.user("?")], temperature: 0, mostTokens: 1)

    /// All answers.
    private func drain(_ queue: ChatQueue) throws -> [(number: Int, answer: ChatAnswer)] {
        var found: [(number: Int, answer: ChatAnswer)] = []
        while queue.count > 0 { found += try queue.answers(check: {}) }
        return found
    }

    @Test(arguments: [
        reply(429), reply(500), reply(502, "<html>"), reply(503), reply(504), reply(408),
        reply(200, "garbage"), reply(200, #"{"choices": []}"#), reply(200, #"{"choices": [{"message": {"con"#),
        .failure(HTTPFailure(reason: "connection reset")),
    ]) func whatMayPassIsAskedAgain(_ outcome: Result<HTTPReply, HTTPFailure>) throws {
        let script = Script([outcome, outcome])
        let queue = try queue(script)
        queue.ask(question, number: 4)
        let found = try drain(queue)
        #expect(found.count == 1 && found[0].number == 4 && found[0].answer.text == "yes")
        #expect(script.tries.count == 3 && queue.sent == 3)
        // One second, then two, by factors from ½ to 1½; steps of a clock that looks five times a second.
        let waits = zip(script.tries, script.tries.dropFirst()).map { $1.time - $0.time }
        #expect((0.5...1.9).contains(waits[0]) && (1...3.4).contains(waits[1]), "\(waits)")
    }

    @Test func itWaitsAsLongAsAServerAsksAndSoDoAllQuestions() throws {
        let script = Script([Self.reply(429, after: 30)])
        let queue = try queue(script) { $0.concurrency = 1 }
        for number in 0..<3 { queue.ask(question, number: number) }
        #expect(try drain(queue).count == 3)
        #expect(script.tries.dropFirst().allSatisfy { $0.time >= 30 }, "\(script.tries)")
        let endless = Script([Self.reply(503, after: 1e9)])
        let patient = try self.queue(endless)
        patient.ask(question, number: 0)
        #expect(try drain(patient).count == 1)
        #expect((600...602).contains(endless.tries[1].time), "ten minutes at most")
    }

    @Test func itGivesUpWithTheLastReason() throws {
        let script = Script(Array(repeating: Self.reply(500, #"{"error": {"message": "out of memory"}}"#), count: 9))
        let queue = try queue(script) { $0.retries = 3 }
        queue.ask(question, number: 0)
        #expect(
            throws: ChatError.unanswered(
                url: "http://localhost/v1/chat/completions", tries: 4, last: "500 Internal Server Error: out of memory")
        ) { try drain(queue) }
        #expect(script.tries.count == 4)
    }

    @Test(arguments: [400, 401, 403, 404, 413, 422, 301]) func aRefusalIsNotAskedAgain(_ status: Int) throws {
        let script = Script([Self.reply(status, #"{"error": "no secret-key-1 here"}"#)])
        let queue = try queue(script, key: "secret-key-1")
        queue.ask(question, number: 0)
        let said = message { _ = try drain(queue) }
        #expect(script.tries.count == 1 && said.contains("\(status)") && said.contains("no (key) here"), "\(said)")
        #expect(!said.contains("secret-key-1"))
    }

    @Test func addressesThatAreNoneEndItAtOnce() throws {
        let script = Script([.failure(HTTPFailure(reason: "bad certificate", isPassing: false))])
        let queue = try queue(script)
        queue.ask(question, number: 0)
        #expect(message { _ = try drain(queue) }.contains("gave no answer in 1 tries, the last time: bad certificate"))
    }

    @Test func soManyAreAskedAtATimeAndNoMore() throws {
        let script = Script([])
        let queue = try queue(script) { $0.concurrency = 3 }
        for number in 0..<20 { queue.ask(question, number: number) }
        #expect(Set(try drain(queue).map(\.number)) == Set(0..<20) && script.most == 3)
    }

    @Test func whoeverWantsToStopIsHeard() throws {
        struct Stop: Error {}
        let script = Script([Self.reply(429, after: 60)])
        let queue = try queue(script)
        queue.ask(question, number: 0)
        #expect(throws: Stop.self) {
            _ = try queue.answers { if script.time > 1 { throw Stop() } }
        }
        #expect(script.time < 1.5)
    }

    @Test func answersHaveTextAndCounts() throws {
        let body =
            #"{"choices": [{"message": {"role": "assistant", "content": null}, "finish_reason": "length"}], "usage": {"prompt_tokens": 5, "completion_tokens": 9}, "x": 1}"#
        let queue = try queue(Script([Self.reply(200, body)]))
        queue.ask(question, number: 0)
        #expect(try drain(queue)[0].answer == ChatAnswer(text: "", finish: "length", tokens_in: 5, tokens_out: 9))
    }

    @Test func endpointsAreAddressesWithoutSecrets() throws {
        #expect(try ChatEndpoint("http://h:1/v1/").url == "http://h:1/v1/chat/completions")
        #expect(try ChatEndpoint("https://h/v1/chat/completions").url == "https://h/v1/chat/completions")
        for bad in ["h/v1", "ftp://h", "http://", "http:///v1", "http://h/v1?key=1", "http://h/a b", "https://h/#x"] {
            #expect(throws: ChatError.self) { try ChatEndpoint(bad) }
        }
        let said = message { _ = try ChatEndpoint("https://me:secret@h/v1") }
        #expect(said.contains("holds a password") && !said.contains("secret"), "\(said)")
        #expect(message { _ = try ChatEndpoint("http://h", key: ("K", nil)) }.contains("variable K is not set"))
        #expect(
            message { _ = try ChatEndpoint("http://h", key: ("K", "a\r\nb")) }.contains("K holds what no key holds"))
        #expect(try ChatEndpoint("http://h/v1", key: ("K", "k")).sendsKeyInTheOpen)
        for safe in ["https://h/v1", "http://localhost:8080/v1", "http://127.0.0.1/v1", "http://[::1]:80/v1"] {
            #expect(try !ChatEndpoint(safe, key: ("K", "k")).sendsKeyInTheOpen)
        }
        #expect(try ChatEndpoint("http://localhost.evil.org/v1", key: ("K", "k")).sendsKeyInTheOpen)
    }
}
