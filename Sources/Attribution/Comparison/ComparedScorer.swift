/// One scorer of a comparison: what it was asked, what it said so far, what that cost.
public final class ComparedScorer {
    /// What the user calls it ("ig,steps=8").
    public let label: String
    public let scorer: any AttributionScorer
    /// Why it stopped; the others go on without it.
    public internal(set) var failure: String?
    /// What it took beyond the passes that all share.
    public internal(set) var cost = ScoringCost()
    let budget: EvaluationBudget
    /// Parallel to the entries, of a scorer of tokens.
    var scores: [Float] = []
    /// One a sample, or one a sequence where the scorer has no value of (latent, sequence) pairs; one in all of a scorer that
    /// looks at all sequences in order.
    var states: [[UInt8]] = []

    /// A scorer that may ask for `budget` evaluations.
    public init(label: String, _ scorer: any AttributionScorer, budget: EvaluationBudget = EvaluationBudget()) {
        self.label = label
        self.scorer = scorer
        self.budget = budget
    }

    /// Totals are taken sequence by sequence where nothing else says what each sequence gives.
    var isSplit: Bool {
        guard !scorer.scoresTokens, !isSequential, let outputs = scorer.accumulation?.outputs else { return false }
        return !outputs.contains { $0.shape == .latentSequence }
    }

    /// It looks at all sequences in order, maybe several times, when the last one is there; sequences drawn again say nothing of it.
    var isSequential: Bool { scorer.accumulation?.isSequential == true }

    /// How many states there are of some sequences of a pass over `count`.
    func stateCount(of sequences: Range<Int>, count: Int) -> Int {
        if isSequential { return sequences.upperBound == count ? 1 : 0 }
        return isSplit ? sequences.count : 1
    }
}

/// What scoring took.
public struct ScoringCost: Codable, Sendable, Equatable {
    /// Of the scorer itself, its questions to the model included.
    public var seconds = 0.0
    /// Tokens run forward from an edit on.
    public var replayed_tokens = 0
    /// Tokens run forward and back for gradients.
    public var gradient_tokens = 0
    /// Questions to the model: edits, points and steps of paths.
    public var evaluations = 0
}

/// Everything that scorers said of one sample, to be kept in a file and taken up again.
public struct ComparisonPart: Equatable, Sendable {
    /// Sequences of the pass.
    public var sequences: Range<Int>
    /// [entries] of the codes.
    public var latents: [Int32] = []
    /// [entries] counted in the pass.
    public var tokens: [Int32] = []
    /// [entries] activations f, none 0.
    public var activations: [Float] = []
    /// [sequences] scored tokens in each.
    public var scoredTokens: [Int] = []
    /// One a scorer.
    public var answers: [Answer] = []

    /// What one scorer said.
    public struct Answer: Equatable, Sendable {
        /// Parallel to the entries, or empty.
        public var scores: [Float] = []
        /// States, or none.
        public var states: [[UInt8]] = []
        /// Why it has nothing to say.
        public var failure: String?
        /// What it took.
        public var cost = ScoringCost()
    }
}
