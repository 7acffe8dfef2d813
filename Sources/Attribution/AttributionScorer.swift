import LinearAlgebra
import SparseCoding

/// What one call to a scorer sees: a few whole sequences, spliced at the hook point and run to the loss.
///
/// N tokens (sequences one after the other), d = d_model, m candidate latents. Everything is borrowed for the call.
public struct ScoringBatch: @unchecked Sendable {
    /// f [N, m]: activations; rows of positions that are not scored are empty.
    public var codes: SparseCodes
    /// W_dec [m, d].
    public var decoder: Matrix
    /// b_dec [1, d].
    public var decoderBias: Matrix
    /// x [N, d]: the model's own residual stream.
    public var residual: Matrix
    /// x̂ [N, d]: what was spliced in.
    public var reconstruction: Matrix
    /// g [N, d]: ∂(Σ losses of the sequence)/∂x̂, in nats per unit of x̂.
    public var gradient: Matrix
    /// [N] next-token loss in nats of position t predicting t + 1; 0 at the last position of a sequence.
    public var loss: [Float]
    /// [N] token ids.
    public var tokens: [Int32]
    /// [S + 1] first token of each sequence.
    public var sequenceOffsets: [Int64]
    /// [N] 1 where the position is scored (its residual was replaced), 0 where the model's own was kept.
    public var scored: [UInt8]
    /// Index of token 0 in the whole scoring pass.
    public var firstToken: Int
    /// Core latents, a prefix of the columns.
    public var coreCount: Int
    /// Prefix widths m_1 < … < m_n of the SAE.
    public var prefixWidths: [Int64]
    /// Width of the prefix that was spliced in.
    public var splicedWidth: Int
    /// Whether the SAE's error x − x̂ was added back, held constant.
    public var errorTermAdded: Bool
    /// Index of sequence 0 in the whole scoring pass.
    public var firstSequence = 0
    /// Answers what the losses and gradients would be had x̂ been another; nil where nobody can.
    public var evaluation: (any SplicedEvaluation)?

    /// A batch of the given parts.
    public init(
        codes: SparseCodes, decoder: Matrix, decoderBias: Matrix, residual: Matrix, reconstruction: Matrix,
        gradient: Matrix, loss: [Float], tokens: [Int32], sequenceOffsets: [Int64], scored: [UInt8], firstToken: Int,
        coreCount: Int, prefixWidths: [Int64], splicedWidth: Int, errorTermAdded: Bool
    ) {
        self.codes = codes
        self.decoder = decoder
        self.decoderBias = decoderBias
        self.residual = residual
        self.reconstruction = reconstruction
        self.gradient = gradient
        self.loss = loss
        self.tokens = tokens
        self.sequenceOffsets = sequenceOffsets
        self.scored = scored
        self.firstToken = firstToken
        self.coreCount = coreCount
        self.prefixWidths = prefixWidths
        self.splicedWidth = splicedWidth
        self.errorTermAdded = errorTermAdded
    }
}

extension ScoringBatch {
    /// Its sequences, counted in the pass.
    var sequences: Range<Int> { firstSequence..<firstSequence + sequenceOffsets.count - 1 }

    /// Sequence s alone, as a batch of its own at its place in the pass.
    package func sequence(_ s: Int) -> ScoringBatch {
        let tokens = Int(sequenceOffsets[s])..<Int(sequenceOffsets[s + 1])
        let first = Int(codes.rowOffsets[tokens.lowerBound]), count = Int(codes.rowOffsets[tokens.upperBound]) - first
        let own = SparseCodes(rows: tokens.count, columns: codes.columns, capacity: count)
        for r in 0...tokens.count { own.rowOffsets[r] = codes.rowOffsets[tokens.lowerBound + r] - Int64(first) }
        own.columnIndices.update(from: codes.columnIndices + first, count: count)
        own.values.update(from: codes.values + first, count: count)
        var result = ScoringBatch(
            codes: own, decoder: decoder, decoderBias: decoderBias, residual: residual.copy(rows: tokens),
            reconstruction: reconstruction.copy(rows: tokens), gradient: gradient.copy(rows: tokens),
            loss: Array(loss[tokens]), tokens: Array(self.tokens[tokens]), sequenceOffsets: [0, Int64(tokens.count)],
            scored: Array(scored[tokens]), firstToken: firstToken + tokens.lowerBound, coreCount: coreCount,
            prefixWidths: prefixWidths, splicedWidth: splicedWidth, errorTermAdded: errorTermAdded)
        result.firstSequence = firstSequence + s
        return result
    }
}

/// Says how much each active latent matters to the next-token loss at each token.
public protocol AttributionScorer: AnyObject, Sendable {
    /// The scorer's id, for records ("gxa").
    var name: String { get }
    /// Its version, for records.
    var version: String { get }
    /// Writes one score for every entry of `batch.codes`, in CSR order. Positive: the latent helps, removing it
    /// raises the loss.
    func score(_ batch: ScoringBatch, into scores: UnsafeMutableBufferPointer<Float>) throws
    /// Whether `score` can be called; false for a scorer that only accumulates.
    var scoresTokens: Bool { get }
    /// Totals over the pass and named outputs, if the scorer has them.
    var accumulation: (any AccumulatingScore)? { get }
}

extension AttributionScorer {
    /// Per-token scores are what most scorers give.
    public var scoresTokens: Bool { true }
    /// Most scorers leave totals to the host.
    public var accumulation: (any AccumulatingScore)? { nil }
}
