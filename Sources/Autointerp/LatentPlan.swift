import LinearAlgebra
import TensorFiles

/// How latents are explained and tested; what is recorded of each depends on all of it.
package struct AutointerpSettings: Sendable, Equatable {
    /// Contexts of each latent.
    package var numbers = ShownContexts.Numbers()
    /// Contexts of one question to the judge; Delphi's num_examples_per_scorer_prompt.
    package var shown = 5
    package var methods = ScoringMethod.allCases
    package var contrast = FuzzingContrast.silent
    /// The model that explains, by the server's name.
    package var explainer: String
    /// The model that answers.
    package var judge: String
    package var temperature = 0.0
    /// Tokens of an answer at most.
    package var mostTokens = 500
    /// Whether the server is to hold the judge to lists of zeros and ones.
    package var holdsToLists = false
    package var seed: UInt64 = 0

    package init(explainer: String, judge: String) { (self.explainer, self.judge) = (explainer, judge) }

    /// For records.
    package var recorded: [String: String] {
        [
            "window": "\(numbers.window)", "explain_contexts": "\(numbers.explain)", "test_contexts": "\(numbers.test)",
            "quantiles": "\(numbers.quantiles)", "shown": "\(shown)",
            "methods": methods.map(\.rawValue).joined(separator: ","),
            "fuzzing": contrast.rawValue, "explainer": explainer, "judge": judge, "temperature": "\(temperature)",
            "max_tokens": "\(mostTokens)",
            "hold_to_lists": "\(holdsToLists)", "seed": "\(seed)", "prompts.sha256": Prompts.hash,
        ]
    }
}

/// What is to be asked about one latent, drawn and ready.
package struct LatentPlan: Sendable {
    package let latent: Int
    package let firings: Int
    package let frequency: Double
    package let largest: Float
    package let shown: ShownContexts
    /// By method.
    package let questions: [ScoringMethod: [Question]]

    /// nil where the latent fires in too few windows, or is silent in too few.
    package init?(_ latent: Int, _ windows: LatentWindows, _ settings: AutointerpSettings) {
        let firing = windows.firing(of: latent)
        guard let shown = ShownContexts(latent, firing, windows, settings.numbers, seed: settings.seed) else {
            return nil
        }
        (self.latent, self.shown) = (latent, shown)
        firings = windows.inspection.entries(of: latent).count
        frequency = windows.inspection.frequencies[latent]
        largest = firing.largest
        questions = Dictionary(
            uniqueKeysWithValues: settings.methods.map {
                ($0, shown.questions($0, settings.contrast, latent: latent, seed: settings.seed))
            })
    }

    /// What plans of so many latents take, with as many records of them: of each token of a context its text and its activation.
    package static func memory(latents: Int, _ numbers: ShownContexts.Numbers) -> MemoryNeed {
        var need = MemoryNeed("what is asked about \(latents) latents needs", advice: "lower --count")
        need.add("contexts", 2 * latents, numbers.explain + 2 * numbers.test, 24 * numbers.window + 200)
        return need
    }

    /// Asks for the explanation.
    package func explaining(_ settings: AutointerpSettings) -> ChatRequest {
        ChatRequest(
            model: settings.explainer, messages: Prompts.explanation(of: shown.explain, largest: largest),
            temperature: settings.temperature, mostTokens: settings.mostTokens)
    }

    /// Asks about an explanation, a few contexts at a time.
    package func judging(_ method: ScoringMethod, _ explanation: String, _ settings: AutointerpSettings)
        -> [ChatRequest]
    {
        batches(method, settings).map { batch in
            ChatRequest(
                model: settings.judge, messages: Prompts.judging(method, explanation, batch.map(\.text)),
                temperature: settings.temperature, mostTokens: settings.mostTokens,
                listLength: settings.holdsToLists ? batch.count : nil)
        }
    }

    /// The requests that it takes.
    package func requestCount(_ settings: AutointerpSettings) -> Int {
        1 + settings.methods.reduce(0) { $0 + batches($1, settings).count }
    }

    func batches(_ method: ScoringMethod, _ settings: AutointerpSettings) -> [[Question]] {
        ExplainedLatent.TestedExplanation.batches(questions[method] ?? [], settings.shown)
    }

    /// What is known once all is answered.
    package func explained(
        _ explaining: ExplainedLatent.Exchange, _ exchanges: [ScoringMethod: [ExplainedLatent.Exchange]],
        _ settings: AutointerpSettings
    ) -> ExplainedLatent {
        let tested = exchanges.map { method, exchanges in
            (
                method.rawValue,
                ExplainedLatent.TestedExplanation(
                    questions: questions[method] ?? [], exchanges: exchanges, shown: settings.shown)
            )
        }
        return ExplainedLatent(
            latent: latent, firings: firings, frequency: frequency, largest: Double(largest), contexts: shown.explain,
            explaining: explaining, explanation: Prompts.explanation(in: explaining.answer),
            scores: Dictionary(uniqueKeysWithValues: tested))
    }

    /// Whether a record is of what is planned here, asked in these words, and says what its answers come to.
    ///
    /// - Throws: `AutointerpError.changedRecord`.
    package func check(_ record: ExplainedLatent, _ settings: AutointerpSettings, file: String) throws {
        func changed(_ what: String) -> AutointerpError { .changedRecord(file: file, what: what) }
        guard record.latent == latent else { throw changed("it is of latent \(record.latent)") }
        guard record.contexts == shown.explain,
            record.explaining.prompt_sha256 == Prompts.digest(explaining(settings).messages)
        else { throw changed("its explanation was written from other contexts") }
        var exchanges: [ScoringMethod: [ExplainedLatent.Exchange]] = [:]
        if let explanation = record.explanation {
            for method in settings.methods {
                guard let tested = record.scores[method.rawValue], tested.questions == questions[method],
                    tested.exchanges.map(\.prompt_sha256)
                        == judging(method, explanation, settings).map({ Prompts.digest($0.messages) })
                else { throw changed("its \(method.rawValue) asked something else") }
                exchanges[method] = tested.exchanges
            }
        }
        // Measures without a value are equal as JSON.
        guard
            try JSONRecord.text(explained(record.explaining, exchanges, settings)) == JSONRecord.text(record)
        else { throw changed("what it says is not what its answers come to") }
    }
}
