import LinearAlgebra

/// How explanations are tested.
package enum ScoringMethod: String, Codable, Sendable, CaseIterable {
    /// Does what is described occur in the text? Half of the contexts are of the latent, half are silent.
    case detection
    /// Are the marked tokens what is described? Half are marked where the latent fires, half elsewhere.
    case fuzzing
}

/// Where fuzzing marks wrongly: Delphi's fuzz_type.
package enum FuzzingContrast: String, Codable, Sendable, CaseIterable {
    /// In contexts in which the latent does not fire ("default").
    case silent
    /// In those in which it does, tokens at which it does not ("active"): what surrounds it does not give it away.
    case active
}

/// One context that a judge is asked about.
package struct Question: Codable, Sendable, Equatable {
    package var context: Context
    /// Tokens that are marked; nil where none are to be.
    package var marked: [Int]?
    /// Whether the right answer is yes.
    package var truth: Bool

    package init(context: Context, marked: [Int]? = nil, truth: Bool) {
        (self.context, self.marked, self.truth) = (context, marked, truth)
    }

    /// As the judge sees it.
    package var text: String { context.text(marking: marked ?? []) }
}

extension ShownContexts {
    /// What a judge is asked, in a drawn order.
    package func questions(_ method: ScoringMethod, _ contrast: FuzzingContrast, latent: Int, seed: UInt64)
        -> [Question]
    {
        // Streams of their own: no SAE has 2³⁰ latents.
        let stream = UInt32(1 + ScoringMethod.allCases.firstIndex(of: method)!) << 30
        let random = CounterRandom(seed: seed, purpose: .shownContexts, step: UInt32(latent) | stream)
        var draws = Draws(random)
        var questions: [Question] = []
        switch method {
        case .detection:
            questions = silent.map { Question(context: $0, truth: false) }
            questions += activating.map { Question(context: $0, truth: true) }
        case .fuzzing:
            let count = Marking.wrongCount(activating)
            for context in contrast == .silent ? silent : activating {
                guard let marked = Marking.wrong(context, count: count, &draws) else { continue }
                questions.append(Question(context: context, marked: marked, truth: false))
            }
            questions += activating.map { Question(context: $0, marked: Marking.right($0), truth: true) }
        }
        return draws.shuffled(questions)
    }
}
