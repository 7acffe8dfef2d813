/// How many evaluations scorers may ask for in one pass, shared by its batches.
public final class EvaluationBudget: @unchecked Sendable {
    /// What there was at first; nil without a limit.
    public let groups: Int?
    /// What is left; nil without a limit.
    public private(set) var remaining: Int?

    /// Called with the number of evaluations so far, each time some more are begun.
    private let progress: ((Int) -> Void)?

    /// A budget of `groups` evaluations, or none to keep.
    public init(groups: Int? = nil, progress: ((Int) -> Void)? = nil) {
        self.groups = groups
        remaining = groups
        self.progress = progress
    }

    /// Evaluations so far.
    public private(set) var spent = 0
    /// Tokens that were run forward from an edit on, to the losses.
    public internal(set) var replayedTokens = 0
    /// Tokens that were run forward and back.
    public internal(set) var gradientTokens = 0

    /// Takes out what an earlier run of the same pass spent.
    func deduct(_ groups: Int) {
        remaining = remaining.map { max(0, $0 - groups) }
        spent += groups
    }

    /// A function that brings back what is the case now, for a call that is made again.
    func checkpoint() -> () -> Void {
        let (remaining, spent, replayed, gradient) = (remaining, spent, replayedTokens, gradientTokens)
        return { [self] in
            (self.remaining, self.spent, replayedTokens, gradientTokens) = (remaining, spent, replayed, gradient)
        }
    }

    /// Takes `groups` out of it.
    /// - Throws: `AttributionError.budgetExhausted`; then nothing was taken.
    func spend(_ groups: Int) throws {
        if let left = remaining {
            guard groups <= left else { throw AttributionError.budgetExhausted(asked: groups, remaining: left) }
            remaining = left - groups
        }
        spent += groups
        progress?(spent)
    }
}

extension EvaluationBudget {
    /// Whole sequences that the model of `spliced` runs from the hook point to the losses in so many seconds here, at
    /// least 1, by a run over `sample`, and the seconds of one. A change late in a sequence takes less, so the time
    /// is an upper bound.
    ///
    /// - Throws: what the model throws.
    public static func forwards(
        in seconds: Double, _ spliced: SplicedModel, _ sample: SpliceSample, clock: () -> Double
    ) throws -> (count: Int, secondsEach: Double) {
        func run() throws -> Double {
            let start = clock()
            _ = try spliced.model.losses(of: sample.tokens, residual: sample.residual, at: spliced.hook)
            return clock() - start
        }
        // The first run touches memory for the first time.
        _ = try run()
        let each = try run() / Double(sample.tokens.sequenceCount)
        return (max(1, Int(min(seconds / max(each, 1e-9), 1e15))), each)
    }
}
