import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// One pass of several scorers over the same sequences: the model runs once for all of them, and a scorer
/// that fails stops alone.
public final class ComparisonPass {
    /// In the order given.
    public let scorers: [ComparedScorer]
    /// What they look at.
    public let spliced: SplicedModel
    /// Of the whole pass.
    public let sequenceCount: Int
    package private(set) var fired: FiredEntries
    /// Seconds of the passes that all share: the model forward and back, once.
    public private(set) var sharedSeconds = 0.0
    private let passes: [ScoringPass]
    private let clock: () -> Double
    /// Tokens of each.
    public let length: Int

    /// A pass over `sequences` sequences of `length` tokens, with `means` of all of them; `clock` gives seconds.
    public init(
        _ spliced: SplicedModel, _ scorers: [ComparedScorer], sequences: Int, length: Int,
        means: MeanActivations? = nil,
        clock: @escaping () -> Double
    ) {
        self.spliced = spliced
        self.scorers = scorers
        self.clock = clock
        self.length = length
        sequenceCount = sequences
        fired = FiredEntries(latentCount: spliced.candidateCount, length: length)
        passes = scorers.map { ScoringPass(spliced, scorer: $0.scorer, budget: $0.budget, means: means) }
    }

    /// Sequences so far.
    public var sequencesSeen: Int { fired.sequenceCount }

    /// Scored tokens so far.
    public var scoredTokens: Int { fired.scoredTokens.reduce(0, +) }

    /// Refuses a pass of which nothing is to be compared.
    ///
    /// - Throws: `AttributionError.nothingScored`; `.nothingReached` where latents fire at last positions
    ///   only, which predict nothing.
    public func requireScores() throws {
        guard scoredTokens > 0 else { throw AttributionError.nothingScored(tokens: sequencesSeen * length) }
        guard fired.tokens.isEmpty || fired.tokens.contains(where: { Int($0) % length != length - 1 }) else {
            throw AttributionError.nothingReached(tokens: sequencesSeen * length)
        }
    }

    /// Memory that the whole pass will take, by what it took so far, and that of every method's
    /// scores in `draws` draws.
    public func memory(draws: Int) -> MemoryNeed {
        func whole(_ soFar: Int) -> Int {
            Int(min(1e18, Double(soFar) * Double(sequenceCount) / Double(max(1, sequencesSeen))))
        }
        var need = MemoryNeed(
            "comparing \(scorers.count) scorers on \(spliced.candidateCount) latents and \(sequenceCount * length) tokens needs",
            advice: "lower --prefix or --draws, or give fewer tokens or scorers")
        let entries = whole(fired.latents.count)
        // Arrays that grow have room to spare; all is sorted by latent once, and copied once when it is written.
        need.add("where latents fire", 40, entries)
        need.add("scores of tokens", 20, scorers.count { $0.scorer.scoresTokens }, entries)
        need.add("states", whole(scorers.reduce(0) { $0 + $1.states.reduce(0) { $0 + $1.count } }))
        need.add("scores drawn again", 8, draws, scorers.count, spliced.candidateCount)
        return need
    }

    /// What the scorer's totals are planned for.
    package func plan(_ scorer: ComparedScorer) -> ScoringPlan {
        ScoringPlan(
            latentCount: spliced.candidateCount, dimension: spliced.sae.dIn, sequenceCount: sequenceCount,
            tokenCount: sequenceCount * length, coreCount: spliced.coreCount,
            errorTermAdded: spliced.settings.errorTerm, evaluationBudget: scorer.budget.groups)
    }

    /// Lets every scorer look at a sample, and returns what they said; one that looks at all sequences in order looks at `all` when
    /// the last sample is there, each time `check` lets it.
    ///
    /// - Throws: what the model and `check` throw, and what a scorer throws if `isFatal` says so; anything else ends that scorer.
    public func run(
        _ sample: SpliceSample, all: SampledSequences? = nil, check: () throws -> Void = {},
        isFatal: (any Error) -> Bool
    ) throws -> ComparisonPart {
        let start = clock()
        let needs = scorers.reduce(into: BatchNeeds()) { $0.formUnion($1.failure == nil ? $1.scorer.needs : []) }
        let shared = try spliced.run(sample, needs: needs)
        sharedSeconds += clock() - start
        let first = sequencesSeen, count = sample.tokens.sequenceCount
        var part = ComparisonPart(sequences: first..<first + count)
        var own = FiredEntries(latentCount: spliced.candidateCount, length: length)
        own.add(shared.codes, scored: shared.scored)
        part.latents = own.latents
        part.tokens = own.tokens.map { $0 + Int32(first * length) }
        part.activations = own.activations
        part.scoredTokens = own.scoredTokens
        for (compared, pass) in zip(scorers, passes) {
            var answer = ComparisonPart.Answer()
            answer.failure = compared.failure
            if answer.failure == nil {
                do {
                    answer =
                        compared.isSequential
                        ? try ask(compared, pass, all, isLast: first + count == sequenceCount, check)
                        : try ask(compared, pass, shared, first)
                } catch let stop as Unsampled {
                    throw stop.reason
                } catch  where !isFatal(error) {
                    answer.failure = "\(error)"
                }
            }
            part.answers.append(answer)
        }
        take(part)
        return part
    }

    private func ask(_ compared: ComparedScorer, _ pass: ScoringPass, _ shared: SplicedModel.Sample, _ first: Int)
        throws
        -> ComparisonPart.Answer
    {
        var answer = ComparisonPart.Answer()
        func score(_ sample: SplicedModel.Sample, at sequence: Int) throws {
            try pass.begin(sequences: sequenceCount, tokens: sequenceCount * length)
            pass.start(at: sequence, length: length)
            answer.scores = try pass.score(sample).values
            if let state = pass.stateBytes { answer.states.append(state) }
        }
        answer.cost = try cost(compared) {
            if compared.isSplit {
                for s in 0..<shared.tokens.sequenceCount { try score(shared.sequence(s), at: first + s) }
            } else {
                try score(shared, at: first)
            }
        }
        return answer
    }

    /// No sample of all sequences is there, for a reason that is no scorer's.
    private struct Unsampled: Error {
        let reason: any Error
    }

    /// As above of a scorer that looks at all sequences in order, as often as it wants: at once, or not yet.
    private func ask(
        _ compared: ComparedScorer, _ pass: ScoringPass, _ all: SampledSequences?, isLast: Bool,
        _ check: () throws -> Void
    ) throws -> ComparisonPart.Answer {
        var answer = ComparisonPart.Answer()
        guard isLast else { return answer }
        guard let all else { preconditionFailure("\(compared.label) looks at all sequences, and none are given") }
        answer.cost = try cost(compared) {
            try pass.begin(sequences: sequenceCount, tokens: sequenceCount * length)
            for number in 0..<pass.passCount {
                pass.begin(pass: number)
                for first in stride(from: 0, to: all.count, by: all.step) {
                    let sample: SpliceSample
                    do {
                        try check()
                        sample = try all.sample(first..<min(first + all.step, all.count))
                    } catch { throw Unsampled(reason: error) }
                    _ = try pass.score(sample)
                }
            }
            answer.states = pass.stateBytes.map { [$0] } ?? []
        }
        return answer
    }

    /// What it takes to do what `body` does for a scorer.
    private func cost(_ compared: ComparedScorer, _ body: () throws -> Void) rethrows -> ScoringCost {
        let (start, budget) = (clock(), compared.budget)
        let before = (budget.replayedTokens, budget.gradientTokens, budget.spent)
        try body()
        return ScoringCost(
            seconds: clock() - start, replayed_tokens: budget.replayedTokens - before.0,
            gradient_tokens: budget.gradientTokens - before.1, evaluations: budget.spent - before.2)
    }

    /// Takes up what was said of the next sequences in an earlier run, and what it took from the budgets.
    public func resume(_ part: ComparisonPart) {
        for (compared, answer) in zip(scorers, part.answers) { compared.budget.deduct(answer.cost.evaluations) }
        take(part)
    }

    private func take(_ part: ComparisonPart) {
        precondition(part.sequences.lowerBound == sequencesSeen, "\(part.sequences) after \(sequencesSeen) sequences")
        fired.latents += part.latents
        fired.tokens += part.tokens
        fired.activations += part.activations
        fired.scoredTokens += part.scoredTokens
        for (compared, answer) in zip(scorers, part.answers) {
            compared.failure = compared.failure ?? answer.failure
            compared.scores += answer.scores
            compared.states += answer.states
            compared.cost.seconds += answer.cost.seconds
            compared.cost.replayed_tokens += answer.cost.replayed_tokens
            compared.cost.gradient_tokens += answer.cost.gradient_tokens
            compared.cost.evaluations += answer.cost.evaluations
        }
    }

    /// A look at latents on the sequences of this pass.
    public func inspection(sae: SparseAutoencoder, tokenizer: Tokenizer?, tokens: TokenBatch) -> LatentInspection {
        LatentInspection(sae, model: spliced.model, tokenizer: tokenizer, ids: tokens.idsOrPadding, fired: fired)
    }

    /// Writes what others need to aggregate and plot again: every method's scores, the codes, token by token, and every
    /// score of a token.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public func write(_ record: ComparisonRecord, to path: String) throws {
        var writer = SafetensorsWriter(metadata: ["methods": record.methods.map(\.name).joined(separator: "\n")])
        for method in record.methods { writer.add("scores.\(method.name)", doubles: method.scores) }
        add(to: &writer)
        try writer.write(to: path)
    }

    private func add(to writer: inout SafetensorsWriter) {
        writer.add("latents", integers32: fired.latents)
        writer.add("tokens", integers32: fired.tokens)
        writer.add("activations", fired.activations)
        writer.add("frequency", doubles: fired.frequency)
        for compared in scorers where !compared.scores.isEmpty && compared.failure == nil {
            writer.add("token_scores.\(compared.label)", compared.scores)
        }
    }
}
