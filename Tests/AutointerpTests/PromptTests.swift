import TestSupport
import Testing

import Autointerp

/// What models are told, and what is read of their answers.
@Suite struct PromptTests {
    private func judged(_ text: String, _ count: Int = 3) -> [Bool]? {
        Prompts.judgements(in: ChatAnswer(text: text), count: count)
    }

    @Test(arguments: [
        ("[1, 0, 1]", [true, false, true]), ("[1,0,1]", [true, false, true]),
        ("Sure: [ 1 , 0 , 1 ].", [true, false, true]),
        ("[true, False, TRUE]", [true, false, true]), ("```\n[0,\n 0, 1]\n```", [false, false, true]),
        ("[1] is right, so [0, 1, 1]", [false, true, true]),
        ("<think>[1, 1, 1]?</think>[0, 0, 0]", [false, false, false]),
        ("[1, 1, 0] or [0, 0, 1]", [true, true, false]), ("[[1, 0, 0]]", [true, false, false]),
    ]) func aListOfZerosAndOnesIsRead(_ text: String, _ wanted: [Bool]) {
        #expect(judged(text) == wanted)
    }

    @Test(arguments: [
        "", "1, 0, 1", "[1, 0]", "[1, 0, 1, 1]", "[1, 0, 1", "[1, 0, 2]", "[1, 0, yes]", "[1, , 1]", "[1 0 1]",
        "[1, 0, 1.5]", "<think>[1, 0, 1]</think>", "I cannot tell [sorry].", "[]",
    ]) func nothingElseIs(_ text: String) { #expect(judged(text) == nil) }

    @Test func oneQuestionAndNone() {
        #expect(judged("[1]", 1) == [true])
        #expect(judged("[]", 0) == nil)
    }

    @Test(arguments: [
        ("Explanation: names of months", "names of months"), ("I think.\n\nExplanation:  names \n", "names"),
        ("explanation: a\nExplanation: b", "b"), ("names of months", "names of months"),
        ("Because.\nnames of months\n\n", "names of months"),
        ("<think>Explanation: no</think>\nExplanation: yes", "yes"),
    ]) func anExplanationIsWhatStandsBehindTheWord(_ text: String, _ wanted: String) {
        #expect(Prompts.explanation(in: ChatAnswer(text: text)) == wanted)
    }

    @Test func noneIsNone() {
        for text in ["", " \n ", "Explanation:", "Explanation: \n", "<think>months</think>"] {
            #expect(Prompts.explanation(in: ChatAnswer(text: text)) == nil, "\(text)")
        }
        #expect(Prompts.explanation(in: ChatAnswer(text: String(repeating: "x", count: 900)))?.count == 500)
    }

    @Test func anExplanationIsAskedForWithMarksAndStrengths() {
        // ⌈10 a / 8⌉; what is marked is above three tenths of the context's largest.
        let contexts = [
            Context(
                sequence: 0, position: 0, tokens: ["a", " b", "c", "\n"], activations: [4, 1.2, 1.3, 0], quantile: 0),
            Context(sequence: 0, position: 4, tokens: ["d", "e", "f", "g"], activations: [0, 0, 8, 7.9], quantile: 1),
        ]
        let messages = Prompts.explanation(of: contexts, largest: 8)
        #expect(
            messages.first?.role == "system"
                && messages.map(\.role).dropFirst() == ["user", "assistant", "user", "assistant", "user"])
        #expect(
            messages.last?.content == """
                Excerpt 1: <<a>> b<<c>>⏎
                Strengths: "a" 5, "c" 2
                Excerpt 2: de<<fg>>
                Strengths: "f" 10, "g" 10
                """)
    }

    @Test func aJudgeGetsTheDescriptionAndNumberedExcerpts() {
        for method in ScoringMethod.allCases {
            let messages = Prompts.judging(method, "names", ["one", "two"])
            #expect(messages.last?.content == "Description: names\n\nExcerpt 1: one\nExcerpt 2: two")
            // Its examples of answers are such answers.
            for (question, answer) in zip(messages, messages.dropFirst()) where answer.role == "assistant" {
                let count = question.content.split(separator: "\n").count { $0.hasPrefix("Excerpt ") }
                #expect(judged(answer.content, count) != nil)
            }
        }
    }

    @Test func hashesTellPromptsApart() {
        let one = Prompts.judging(.detection, "a", ["b"])
        #expect(Prompts.digest(one).count == 64 && Prompts.digest(one) == Prompts.digest(one))
        #expect(Prompts.digest(one) != Prompts.digest(Prompts.judging(.detection, "a", ["c"])))
        #expect(Prompts.digest(one) != Prompts.digest(Prompts.judging(.fuzzing, "a", ["b"])))
        #expect(
            Prompts.digest([.user("a"), .user("b")]) != Prompts.digest([.user("a\nuser 1 b")]),
            "what one says is no second message")
    }

    @Test func requestsAreOpenAIs() throws {
        let request = ChatRequest(
            model: "m\"1", messages: [.system("s\n"), .user("u")], temperature: 0.5, mostTokens: 7)
        #expect(
            String(decoding: request.json, as: UTF8.self)
                == #"{"model":"m\"1","messages":[{"role":"system","content":"s\n"},{"role":"user","content":"u"}],"temperature":0.5,"max_tokens":7,"stream":false}"#
        )
        let held = ChatRequest(model: "m", messages: [], temperature: 0, mostTokens: 7, listLength: 3)
        #expect(
            String(decoding: held.json, as: UTF8.self).hasSuffix(
                #""response_format":{"type":"json_schema","json_schema":{"name":"answers","schema":{"type":"array","items":{"type":"integer","enum":[0,1]},"minItems":3,"maxItems":3}}}}"#
            ))
    }
}
