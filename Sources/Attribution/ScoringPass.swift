import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// Scores latents on real sequences: splice the prefix reconstruction, run to the loss and back, and hand codes,
/// gradient and losses to a scorer.
public final class ScoringPass {
    /// What it looks at.
    public let spliced: SplicedModel
    /// Number of candidates.
    public var candidateCount: Int { spliced.candidateCount }
    private let scorer: any AttributionScorer
    private let budget: EvaluationBudget
    private let means: MeanActivations?
    private var tokensSeen = 0
    /// Sequences so far, in the whole pass.
    public private(set) var sequencesSeen = 0
    /// Scored tokens so far, in the whole pass, that some loss comes at or after.
    private var reachingTokens = 0
    private var accumulated: AccumulatedScore?
    private var changes: TokenLossChanges?

    /// A pass of one scorer over what `spliced` shows it. Evaluations the scorer asks for are taken from `budget`, and
    /// what it asks of the whole pass is in `means`.
    public init(
        _ spliced: SplicedModel, scorer: any AttributionScorer, budget: EvaluationBudget = EvaluationBudget(),
        means: MeanActivations? = nil
    ) {
        self.spliced = spliced
        self.scorer = scorer
        self.budget = budget
        self.means = means
    }

    /// A pass of one scorer over one SAE at `hook`.
    ///
    /// - Throws: `AttributionError` for widths that do not fit.
    public convenience init(
        model: any LanguageModel, hook: HookPoint, sae: SparseAutoencoder, scorer: any AttributionScorer,
        settings: ScoringSettings = ScoringSettings()
    ) throws {
        self.init(try SplicedModel(model: model, hook: hook, sae: sae, settings: settings), scorer: scorer)
    }

    /// Prepares the totals and named outputs of a scorer that has them, over `sequences` sequences of `tokens` tokens
    /// in all. To be called before the first sample.
    ///
    /// - Throws: what the scorer throws; `AttributionError.stateTooLarge`.
    public func begin(sequences: Int, tokens: Int) throws {
        guard let accumulation = scorer.accumulation else { return }
        accumulated = try AccumulatedScore(
            accumulation,
            ScoringPlan(
                latentCount: candidateCount, dimension: spliced.sae.dIn, sequenceCount: sequences, tokenCount: tokens,
                coreCount: spliced.coreCount, errorTermAdded: spliced.settings.errorTerm,
                evaluationBudget: budget.groups))
    }

    /// The output that the scorer's score is the mean of over sequences, sequence by sequence; nil if it has none.
    public var terms: ScorerOutput? { scorer.accumulation?.outputs.first { $0.role == .terms } }

    /// Keeps what the scorer's terms are made of token by token, from the first sample of a pass over `sequences`
    /// sequences of `length` tokens on.
    public func keepLossChanges(sequences: Int, length: Int) {
        precondition(terms != nil, "\(scorer.name) has no terms")
        changes = TokenLossChanges(latents: candidateCount, sequences: sequences, length: length)
    }

    /// Δ [m·B, T − 1] of the sequences so far; nil if it is not kept.
    ///
    /// - Throws: `AttributionError.termsAreNotChanges`; what the scorer throws.
    public func lossChanges() throws -> Matrix? {
        guard let changes, let (output, values) = try outputs().first(where: { $0.output.role == .terms }) else {
            return nil
        }
        try changes.settle(values, of: 0..<sequencesSeen, scorer: scorer.name, output: output.name)
        return changes.values
    }

    /// How often the scorer gets every sequence.
    public var passCount: Int { accumulated?.plan.passCount ?? 1 }
    /// Which of the passes it is in.
    public var passNumber: Int { accumulated?.pass ?? 0 }
    /// The scorer's id, if it has no shards.
    var sequentialScorer: String? { scorer.accumulation?.isSequential == true ? scorer.name : nil }

    /// Goes on with another pass over the sequences, from the first one.
    func begin(pass number: Int) {
        accumulated?.pass = number
        start(at: 0, length: 0)
    }

    /// Starts at a later sequence, for a part of the pass; all are of one length.
    public func start(at sequence: Int, length: Int) {
        sequencesSeen = sequence
        tokensSeen = sequence * length
    }

    /// The scorer's own state; nil if it has none.
    var stateBytes: [UInt8]? { accumulated?.bytes }

    /// The scorer's state after the sequences from `first` on.
    public func state(key: PassKey, from first: Int, _ accumulator: ScoreAccumulator) -> ScoringState {
        var state = ScoringState(
            key: key, sequences: first..<sequencesSeen, tokenCount: accumulator.tokenCount,
            activeCounts: accumulator.activeCounts, bytes: accumulated?.bytes ?? [])
        state.reachingTokens = reachingTokens
        state.evaluations = budget.spent
        state.pass = passNumber
        return state
    }

    /// Goes on from a stored state.
    ///
    /// - Throws: `AttributionError.otherState`.
    public func resume(_ state: ScoringState, path: String, length: Int, _ accumulator: ScoreAccumulator) throws {
        guard (0..<passCount).contains(state.pass) else {
            throw AttributionError.otherState(path: path, bytes: state.bytes.count, wanted: state.bytes.count)
        }
        try accumulated?.restore(state.bytes, from: path)
        accumulated?.pass = state.pass
        budget.deduct(state.evaluations)
        reachingTokens += state.reachingTokens
        accumulator.count(state.activeCounts, tokens: state.tokenCount)
        start(at: state.sequences.upperBound, length: length)
    }

    /// Adds the stored state of the sequences that come next.
    ///
    /// - Throws: `AttributionError.shardsDoNotFit`, `.otherState`; what the scorer throws.
    public func merge(_ state: ScoringState, path: String, length: Int, _ accumulator: ScoreAccumulator) throws {
        guard state.sequences.lowerBound == sequencesSeen else {
            throw AttributionError.shardsDoNotFit(path: path, found: state.sequences, wanted: sequencesSeen)
        }
        try accumulated?.merge(state.bytes, from: path)
        reachingTokens += state.reachingTokens
        accumulator.count(state.activeCounts, tokens: state.tokenCount)
        start(at: state.sequences.upperBound, length: length)
    }

    /// The scorer's named outputs after the last sample; none if it has none.
    ///
    /// - Throws: what the scorer throws.
    public func outputs() throws -> [(output: ScorerOutput, values: [Double])] { try accumulated?.results() ?? [] }

    /// A [m], from the accumulator for a scorer of tokens, else the scorer's own total (its output 0), in which a
    /// latent without evidence has 0.
    ///
    /// - Throws: what the scorer throws; `AttributionError.nothingReached` where no loss depends on what was scored.
    public func totals(_ accumulator: ScoreAccumulator) throws -> [Double] {
        guard reachingTokens > 0 else { throw AttributionError.nothingReached(tokens: tokensSeen) }
        if scorer.scoresTokens { return accumulator.result() }
        guard let own = try outputs().first else {
            preconditionFailure("begin was not called for \(scorer.name), which scores no tokens")
        }
        return own.values.map { $0.isNaN ? 0 : $0 }
    }

    /// What one batch gave: scores parallel to the entries of `codes`, positive where the latent helps.
    public struct Scores {
        /// f [N, candidates]; rows of positions that are not scored are empty.
        public let codes: SparseCodes
        /// One per entry; empty for a scorer that only accumulates.
        public let values: [Float]
        /// [N] next-token losses, nats.
        public let loss: [Float]
        /// Positions that were replaced, and so scored.
        public let scoredCount: Int
        /// x̂ [N, d] and g [N, d], for tests and `lm`-like outputs.
        public let reconstruction: Matrix
        /// g [N, d].
        public let gradient: Matrix
    }

    /// Scores one sample.
    ///
    /// - Throws: what the model and the scorer throw; `AttributionError.scoreNotFinite`.
    public func score(_ sample: SpliceSample) throws -> Scores {
        try score(try spliced.run(sample, needs: scorer.needs))
    }

    /// Scores one sample that was run.
    ///
    /// - Throws: what the scorer throws, and the model when it is asked; `AttributionError.scoreNotFinite`.
    public func score(_ sample: SplicedModel.Sample) throws -> Scores {
        var batch = sample.batch
        batch.firstToken = tokensSeen
        batch.firstSequence = sequencesSeen
        batch.evaluation = SpliceEvaluator(
            sample.replay, batch: batch, budget: budget, means: means, changes: changes)
        var values: [Float] = []
        if scorer.scoresTokens && passNumber == 0 {
            values = [Float](repeating: 0, count: batch.codes.count)
            try values.withUnsafeMutableBufferPointer { try scorer.score(batch, into: $0) }
            try check(values, batch.codes)
        }
        do { try accumulated?.add(batch) } catch {
            changes?.forget(batch.sequences)
            throw error
        }
        skip(sample.sample)
        if passNumber == 0 { reachingTokens += sample.sample.reachingCount }
        return Scores(
            codes: batch.codes, values: values, loss: batch.loss, scoredCount: sample.scoredCount,
            reconstruction: sample.reconstruction, gradient: batch.gradient)
    }

    /// Passes over a sample: the next one has its place in the pass all the same.
    public func skip(_ sample: SpliceSample) {
        tokensSeen += sample.tokenCount
        sequencesSeen += sample.tokens.sequenceCount
    }

    /// Scores every sample into an accumulator.
    ///
    /// - Throws: what `score` throws; `AttributionError.nothingScored`.
    public func accumulate(
        _ samples: [SpliceSample], into accumulator: ScoreAccumulator, progress: (Int) -> Void = { _ in }
    ) throws {
        for sample in samples {
            try score(sample).add(to: accumulator)
            progress(sample.tokenCount)
        }
        guard accumulator.tokenCount > 0 else {
            throw AttributionError.nothingScored(tokens: samples.reduce(0) { $0 + $1.tokenCount })
        }
    }

    private func check(_ values: [Float], _ codes: SparseCodes) throws {
        guard let bad = values.firstIndex(where: { !$0.isFinite }) else { return }
        let row = (0..<codes.rows).first { codes.entries(ofRow: $0).contains(bad) } ?? 0
        throw AttributionError.scoreNotFinite(
            scorer: scorer.name, token: tokensSeen + row, latent: Int(codes.columnIndices[bad]), value: values[bad])
    }
}

extension ScoringPass.Scores {
    /// Adds them, or for a scorer that only accumulates what fired.
    public func add(to accumulator: ScoreAccumulator) {
        if values.isEmpty { return accumulator.count(codes, tokens: scoredCount) }
        values.withUnsafeBufferPointer { accumulator.add(codes, $0, tokens: scoredCount) }
    }
}
