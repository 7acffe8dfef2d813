import LanguageModeling
import LinearAlgebra
import SparseCoding

/// What a scoring pass splices and looks at.
public struct ScoringSettings: Sendable {
    /// Width of the reconstruction that replaces the residual stream; nil for the innermost prefix.
    public var prefix: Int?
    /// Adds x − x̂ back, held constant: the model then runs on its own stream.
    public var errorTerm = false
    /// Candidates are all latents instead of those of the spliced prefix.
    public var allCandidates = false

    /// The paper's: innermost prefix, no error term.
    public init() {}
}

/// Scores latents on real sequences: splice the prefix reconstruction, run to the loss and back, and hand codes,
/// gradient and losses to a scorer.
public final class ScoringPass {
    /// What was asked for.
    public let settings: ScoringSettings
    /// Width of the spliced prefix, m.
    public let splicedWidth: Int
    /// Number of candidates.
    public let candidateCount: Int
    private let model: any LanguageModel
    private let layer: Int
    private let sae: SparseAutoencoder
    private let scorer: any AttributionScorer
    private let encoding = EncodingPass()
    private let candidateDecoder: Matrix
    private let budget: EvaluationBudget
    private var tokensSeen = 0
    /// Sequences so far, in the whole pass.
    public private(set) var sequencesSeen = 0
    private var accumulated: AccumulatedScore?

    /// A pass of one scorer over one SAE at `layer`. Evaluations the scorer asks for are taken from `budget`.
    ///
    /// - Throws: `AttributionError` for widths that do not fit.
    public init(
        model: any LanguageModel, layer: Int, sae: SparseAutoencoder, scorer: any AttributionScorer,
        settings: ScoringSettings = ScoringSettings(), budget: EvaluationBudget = EvaluationBudget()
    ) throws {
        guard sae.dIn == model.configuration.dModel else {
            throw AttributionError.widthsDiffer(sae: sae.dIn, model: model.configuration.dModel)
        }
        splicedWidth = settings.prefix ?? sae.layout.innermost
        guard (1...sae.dSAE).contains(splicedWidth) else {
            throw AttributionError.badPrefix(found: splicedWidth, width: sae.dSAE)
        }
        candidateCount = settings.allCandidates ? sae.dSAE : splicedWidth
        candidateDecoder = sae.decoder.copy(rows: 0..<candidateCount)
        self.settings = settings
        self.model = model
        self.layer = layer
        self.sae = sae
        self.scorer = scorer
        self.budget = budget
    }

    /// Prepares the totals and named outputs of a scorer that has them, over `sequences` sequences of `tokens` tokens in
    /// all. To be called before the first sample.
    ///
    /// - Throws: what the scorer throws; `AttributionError.stateTooLarge`.
    public func begin(sequences: Int, tokens: Int) throws {
        guard let accumulation = scorer.accumulation else { return }
        accumulated = try AccumulatedScore(
            accumulation,
            ScoringPlan(
                latentCount: candidateCount, dimension: sae.dIn, sequenceCount: sequences, tokenCount: tokens,
                coreCount: min(sae.layout.coreCount, candidateCount), errorTermAdded: settings.errorTerm))
    }

    /// Starts at a later sequence, for a part of the pass; all are of one length.
    public func start(at sequence: Int, length: Int) {
        sequencesSeen = sequence
        tokensSeen = sequence * length
    }

    /// The scorer's state after the sequences from `first` on.
    public func state(key: String, from first: Int, _ accumulator: ScoreAccumulator) -> ScoringState {
        ScoringState(
            key: key, sequences: first..<sequencesSeen, tokenCount: accumulator.tokenCount,
            activeCounts: accumulator.activeCounts, bytes: accumulated?.bytes ?? [])
    }

    /// Goes on from a stored state.
    ///
    /// - Throws: `AttributionError.otherPass`.
    public func resume(_ state: ScoringState, path: String, length: Int, _ accumulator: ScoreAccumulator) throws {
        try accumulated?.restore(state.bytes, from: path)
        accumulator.count(state.activeCounts, tokens: state.tokenCount)
        start(at: state.sequences.upperBound, length: length)
    }

    /// Adds the stored state of the sequences that come next.
    ///
    /// - Throws: `AttributionError.shardsDoNotFit`, `.otherPass`; what the scorer throws.
    public func merge(_ state: ScoringState, path: String, length: Int, _ accumulator: ScoreAccumulator) throws {
        guard state.sequences.lowerBound == sequencesSeen else {
            throw AttributionError.shardsDoNotFit(path: path, found: state.sequences, wanted: sequencesSeen)
        }
        try accumulated?.merge(state.bytes, from: path)
        accumulator.count(state.activeCounts, tokens: state.tokenCount)
        start(at: state.sequences.upperBound, length: length)
    }

    /// The scorer's named outputs after the last sample; none if it has none.
    ///
    /// - Throws: what the scorer throws.
    public func outputs() throws -> [(output: ScorerOutput, values: [Double])] { try accumulated?.results() ?? [] }

    /// A [m], from the accumulator for a scorer of tokens, else the scorer's own total (its output 0), in which a latent
    /// without evidence has 0.
    ///
    /// - Throws: what the scorer throws.
    public func totals(_ accumulator: ScoreAccumulator) throws -> [Double] {
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
        /// [N] nats.
        public let loss: [Float]
        /// Scored positions.
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
        let all = SparseCodes()
        try encoding.encode(sample.residual, with: sae, into: all)
        let reconstruction = sae.decode(all, prefix: splicedWidth)
        let spliced = settings.errorTerm ? sample.residual : sample.spliced(reconstruction)
        let (loss, gradient) = try model.lossesAndGradient(
            of: sample.tokens, residual: spliced, afterLayer: layer)
        let codes = all.restricted(toColumnsBelow: candidateCount, rows: sample.replaced)
        let length = sample.tokens.length
        var batch = ScoringBatch(
            codes: codes, decoder: candidateDecoder, decoderBias: sae.decoderBias, residual: sample.residual,
            reconstruction: spliced, gradient: gradient, loss: loss, tokens: sample.tokens.ids,
            sequenceOffsets: (0...sample.tokens.sequenceCount).map { Int64($0 * length) }, scored: sample.replaced,
            firstToken: tokensSeen, coreCount: min(sae.layout.coreCount, candidateCount),
            prefixWidths: sae.layout.prefixes.map(Int64.init), splicedWidth: splicedWidth,
            errorTermAdded: settings.errorTerm)
        batch.firstSequence = sequencesSeen
        batch.evaluation = SpliceEvaluator(
            model: model, layer: layer, tokens: sample.tokens, batch: batch, budget: budget)
        var values: [Float] = []
        if scorer.scoresTokens {
            values = [Float](repeating: 0, count: codes.count)
            try values.withUnsafeMutableBufferPointer { try scorer.score(batch, into: $0) }
            try check(values, codes)
        }
        try accumulated?.add(batch)
        skip(sample)
        return Scores(
            codes: codes, values: values, loss: loss, scoredCount: sample.replacedCount,
            reconstruction: reconstruction, gradient: gradient)
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

extension SparseCodes {
    /// The entries of columns below `end` in the rows where `rows` is 1; other rows are empty.
    func restricted(toColumnsBelow end: Int, rows kept: [UInt8]) -> SparseCodes {
        let result = SparseCodes(rows: rows, columns: end, capacity: count)
        var at = 0
        for r in 0..<rows {
            if kept[r] != 0 {
                for e in entries(ofRow: r) where columnIndices[e] < Int32(end) {
                    result.columnIndices[at] = columnIndices[e]
                    result.values[at] = values[e]
                    at += 1
                }
            }
            result.rowOffsets[r + 1] = Int64(at)
        }
        return result
    }
}
