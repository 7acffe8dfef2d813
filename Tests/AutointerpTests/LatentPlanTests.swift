import Attribution
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

import Autointerp

/// From plans to records and summaries, with a judge whose answers are known.
@Suite struct LatentPlanTests {
    private let windows: LatentWindows
    private let settings = SmallText.settings
    private let folder = TemporaryFolder()

    init() throws { windows = try LatentWindows(try SmallText().inspection, length: 8) }

    /// A server that explains latents by "it", and answers by `judge`.
    private final class Server: HTTPTransfers {
        let judge: (_ excerpts: [Substring]) -> String
        var replies: [(number: Int, outcome: Result<HTTPReply, HTTPFailure>)] = []
        var asked = 0
        init(_ judge: @escaping ([Substring]) -> String) { self.judge = judge }

        func start(_ post: HTTPPost, number: Int) {
            asked += 1
            let body = try? JSONValue(parsing: String(decoding: post.body, as: UTF8.self))
            let question = body?["messages"]?.array?.last?["content"]?.string ?? ""
            let excerpts = question.split(separator: "\n").filter { $0.hasPrefix("Excerpt ") }
            let text = question.hasPrefix("Description: it\n") ? judge(excerpts) : "Explanation: it"
            let reply =
                #"{"choices": [{"message": {"content": \#(JSONValue.quoted(text))}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}"#
            replies.append((number, .success(HTTPReply(status: 200, body: Array(reply.utf8)))))
        }

        func ended(within seconds: Double) -> [(number: Int, outcome: Result<HTTPReply, HTTPFailure>)] {
            // The last first: answers come in any order.
            defer { replies = [] }
            return replies.reversed()
        }
    }

    private func ask(_ plans: [LatentPlan], _ server: Server) throws -> [Int: ExplainedLatent] {
        var patience = ChatQueue.Patience()
        patience.concurrency = 3
        let queue = ChatQueue(
            try ChatEndpoint("http://127.0.0.1:1/v1"), server, patience, seed: 0, now: { 0 }, notice: { _ in })
        var found: [Int: ExplainedLatent] = [:]
        try AutointerpRun(settings, queue).ask(
            plans, finished: { found[$0.latent] = $0 }, progress: { _ in }, check: {})
        return found
    }

    /// Yes to an excerpt with an even number of letters.
    private func says(_ excerpt: Substring) -> Bool { excerpt.drop { $0 != ":" }.count % 2 == 0 }

    private var plans: [LatentPlan] { (0..<8).compactMap { LatentPlan($0, windows, settings) } }

    @Test func answersComeToWhatTheJudgeSaidOfEachText() throws {
        let plans = plans
        let server = Server { "[" + $0.map { self.says($0) ? "1" : "0" }.joined(separator: ", ") + "]" }
        let found = try ask(plans, server)
        #expect(plans.count >= 4 && found.keys.sorted() == plans.map(\.latent))
        #expect(server.asked == plans.reduce(0) { $0 + $1.requestCount(settings) })
        for plan in plans {
            let latent = try #require(found[plan.latent])
            #expect(latent.explanation == "it" && latent.contexts == plan.shown.explain)
            for method in ScoringMethod.allCases {
                let tested = try #require(latent.scores[method.rawValue])
                let (truths, answers) = (tested.questions.map(\.truth), tested.questions.map { says(": \($0.text)") })
                #expect(tested.questions == plan.questions[method] && tested.answers == answers)
                #expect(tested.counts == AnswerCounts(truths: truths, answers: answers))
                // 24 questions, five at a time.
                #expect(tested.exchanges.count == 5)
            }
            #expect(
                latent.usage.requests == plan.requestCount(settings)
                    && latent.usage.tokens_in == 7 * latent.usage.requests)
        }
    }

    @Test func anAnswerThatIsNoneLeavesItsQuestionsUnanswered() throws {
        let plan = try #require(plans.first)
        let found = try ask([plan], Server { $0.count == 5 ? "no" : "[1, 1, 1, 1]" })
        let tested = try #require(found[plan.latent]?.scores["detection"])
        #expect(tested.answers == Array(repeating: nil, count: 20) + [true, true, true, true])
        #expect(tested.counts.unanswered == 20)
    }

    @Test func aRecordIsReadAgainAndNoOther() throws {
        let plan = plans[0]
        let found = try #require(
            try ask([plan], Server { "[" + $0.map { _ in "1" }.joined(separator: ",") + "]" })[plan.latent])
        let place = folder.file("out")
        let kept = try AutointerpFolder(place, settings: ["a": "1"])
        #expect(try kept.read(plan, settings) == nil)
        try kept.write(found)
        #expect(try AutointerpFolder(place, settings: ["a": "1"]).read(plan, settings) == found)
        #expect(throws: AutointerpError.otherSettings(folder: place, key: "a", kept: "1", now: "2")) {
            try AutointerpFolder(place, settings: ["a": "2"])
        }
        #expect(throws: AutointerpError.otherSettings(folder: place, key: "b", kept: "none", now: "2")) {
            try AutointerpFolder(place, settings: ["a": "1", "b": "2"])
        }
        func refused(_ change: (inout ExplainedLatent) -> Void) throws {
            var changed = found
            change(&changed)
            try kept.write(changed)
            #expect(throws: AutointerpError.self) { try kept.read(plan, settings) }
        }
        try refused { $0.contexts[0].activations[0] += 1 }
        try refused { $0.explanation = "that" }
        try refused { $0.scores["detection"]?.questions[0].truth.toggle() }
        try refused { $0.scores["detection"]?.answers[0] = false }
        try refused { $0.scores["detection"]?.counts.true_positives += 1 }
        try refused { $0.scores["fuzzing"] = nil }
        try refused { $0.scores["fuzzing"]?.exchanges[0].answer.text = "[0, 0, 0, 0, 0]" }
        try refused { $0.frequency /= 2 }
        try JSONRecord.write(found, to: place + "/latents/\(plan.latent).json")
        try fuzzJSON(place + "/latents/\(plan.latent).json", rounds: 100) { _ = try kept.read(plan, settings) }
    }

    @Test func memoryIsAskedForByFormula() {
        #expect(throws: ResourceError.self) {
            try LatentPlan.memory(latents: 1 << 40, settings.numbers).check()
        }
        // 2 · 10 latents, 8 + 2 · 12 contexts, 24 · 8 + 200 bytes.
        #expect(LatentPlan.memory(latents: 10, settings.numbers).bytes == 20 * 32 * 392)
    }

    @Test func summariesHaveMeansOverLatentsAndPooledAnswers() throws {
        let server = Server { "[" + $0.map { self.says($0) ? "1" : "0" }.joined(separator: ", ") + "]" }
        let found = try ask(plans, server)
        let own = Array(found.keys.sorted())
        let sets = [
            LatentSet(name: "core", latents: Array(own.prefix(3)), of: 3, explainable: 3),
            LatentSet(
                name: "most frequent", latents: Array(own.dropFirst(1).prefix(3)), of: 5, explainable: 5,
                control_of: "core"),
        ]
        let summary = AutointerpSummary(
            found, sets: sets, methods: ScoringMethod.allCases, settings: [:], rare: 0, dense: 0)
        for (set, latents) in [("core", own.prefix(3)), ("most frequent", own.dropFirst(1).prefix(3))] {
            for method in ["detection", "fuzzing"] {
                let f1 = latents.map { found[$0]!.scores[method]!.measures.f1 }
                let weights = latents.map { Double(found[$0]!.firings) }
                let mean = try #require(
                    summary.means.first { $0.set == set && $0.method == method && $0.measure == "f1" })
                // Sums in other orders.
                #expect(isNear(mean.mean.value, f1.reduce(0, +) / 3, within: 1e-12) && mean.latents == 3)
                let weighted = zip(f1, weights).reduce(0) { $0 + $1.0 * $1.1 } / weights.reduce(0, +)
                #expect(isNear(mean.frequency_weighted_mean.value, weighted, within: 1e-12))
                let pooled = try #require(summary.pooled.first { $0.set == set && $0.method == method })
                #expect(pooled.counts == latents.map { found[$0]!.scores[method]!.counts }.reduce(AnswerCounts(), +))
            }
        }
        let less = try #require(summary.differences.first { $0.method == "detection" && $0.measure == "f1" })
        let means = summary.means.filter { $0.method == "detection" && $0.measure == "f1" }
        #expect(less.set == "core" && less.control == "most frequent")
        #expect(isNear(less.mean.value, means[0].mean.value - means[1].mean.value, within: 1e-12))
        #expect(summary.usage.requests == server.asked)

        // As scores for those who show scores.
        var settled = summary
        settled.settings = ["SAE.sha256": "abc", "explainer": "e"]
        let file = folder.file("autointerp.json")
        try JSONRecord.write(settled, to: file)
        let scores = try #require(try AutointerpSummary.scores(in: file, weights: "abc", width: 128))
        #expect(scores.map(\.name) == ["detection", "fuzzing"])
        for latent in 0..<128 {
            let wanted = found[latent]?.scores["detection"]?.measures.balanced_accuracy
            #expect(wanted == nil ? scores[0].values[latent].isNaN : scores[0].values[latent] == wanted)
        }
        #expect(throws: TensorFileError.self) { try AutointerpSummary.scores(in: file, weights: "abd", width: 128) }
        #expect(throws: TensorFileError.self) { try AutointerpSummary.scores(in: file, weights: "abc", width: 1) }
        try JSONRecord.write(["settings": ["tau": "1"]], to: file)
        #expect(try AutointerpSummary.scores(in: file, weights: "abc", width: 128) == nil)
    }

    @Test func aCoreHasControlsOfItsSizeAmongWhatCanBeExplained() {
        var choice = LatentSet.Choice(firstGroup: 12, latents: 40)
        (choice.core, choice.draws, choice.seed) = ([0, 1, 2, 3, 4], 2, 7)
        let canBe = (0..<40).map { $0 % 3 != 2 }
        let frequency = (0..<40).map { Double(40 - $0) }
        let sets = LatentSet.sets(choice, canBeExplained: canBe, frequency: frequency)
        #expect(
            sets.map(\.name) == [
                "core", "random 1 of first group", "random 2 of first group", "random 1 of all", "random 2 of all",
                "most frequent",
            ])
        #expect(sets[0].latents.sorted() == [0, 1, 3, 4] && sets[0].of == 5 && sets[0].explainable == 4)
        for set in sets.dropFirst() {
            #expect(set.control_of == "core" && set.latents.count == 4 && Set(set.latents).count == 4)
            #expect(set.latents.allSatisfy { $0 >= 5 && canBe[$0] })
        }
        #expect(sets[1].latents.allSatisfy { $0 < 12 } && sets[1].latents != sets[2].latents)
        #expect(sets[5].latents == [6, 7, 9, 10], "those that fire most often")
        choice.count = 2
        #expect(
            LatentSet.sets(choice, canBeExplained: canBe, frequency: frequency).allSatisfy { $0.latents.count == 2 })
        choice.core = []
        #expect(
            LatentSet.sets(choice, canBeExplained: canBe, frequency: frequency).map(\.name) == ["first group", "all"])
        choice.core = [2, 5]
        #expect(
            LatentSet.sets(choice, canBeExplained: canBe, frequency: frequency).isEmpty, "a core of which none can be")
    }
}
