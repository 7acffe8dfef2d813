import Kernels
import LinearAlgebra
import SparseCoding
import TensorFiles

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
    /// What codes are made by; nil where nobody needs it.
    public var encoder: Encoder?
    /// Whether the SAE subtracts b_dec from x before it encodes.
    public var subtractsDecoderBias = true
    /// [N] the model's own probability of the next token, nothing spliced in; 0 where there is none to predict. Nil where
    /// nobody needs it.
    public var targetProbabilities: [Float]?
    /// First token of each document, and N.
    public var documentOffsets: [Int64]
    /// Where x stands.
    public var hook = HookPoint.residPost(0)
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
        documentOffsets = sequenceOffsets
    }

    /// How the SAE's codes are made: f = p where p > max(0, θ), or the k largest positive p of a token.
    public struct Encoder: @unchecked Sendable {
        /// W_encᵀ, [m, d] or more rows.
        public var weights: Matrix
        /// b_enc, [1, m] or more.
        public var bias: Matrix
        /// θ, [1, m] or more; nil where rank decides.
        public var thresholds: Matrix?
        /// k; 0 where thresholds decide.
        public var topK: Int

        /// The encoder of an SAE, all of its latents.
        ///
        /// - Throws: `SparseCodingError.thresholdUnset`.
        init(of sae: SparseAutoencoder) throws {
            topK = sae.rowTopK ?? 0
            thresholds = topK > 0 ? nil : try sae.inferenceThresholds()
            (weights, bias) = (sae.encoder, sae.encoderBias)
        }

        /// One of the given parts.
        package init(weights: Matrix, bias: Matrix, thresholds: Matrix?, topK: Int = 0) {
            (self.weights, self.bias, self.thresholds, self.topK) = (weights, bias, thresholds, topK)
        }
    }

    /// [N] |x_t|.
    package var residualNorms: [Float] {
        (0..<residual.rows).map { kernels.dot(residual.row($0), residual.row($0), residual.columns).squareRoot() }
    }

    /// With what costs something only where it is needed.
    package func limited(to needs: BatchNeeds) -> ScoringBatch {
        var result = self
        if !needs.contains(.encoder) { result.encoder = nil }
        if !needs.contains(.targetProbabilities) { result.targetProbabilities = nil }
        return result
    }
}

/// What of a batch a scorer reads that is only made, or sent to it, if it says so.
public struct BatchNeeds: OptionSet, Sendable, Codable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The SAE's encoder.
    public static let encoder = BatchNeeds(rawValue: 1)
    /// The model's own probabilities of next tokens.
    public static let targetProbabilities = BatchNeeds(rawValue: 2)
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
        result.encoder = encoder
        result.subtractsDecoderBias = subtractsDecoderBias
        result.targetProbabilities = targetProbabilities.map { Array($0[tokens]) }
        // A sequence begins a document.
        result.documentOffsets =
            documentOffsets.filter { tokens.contains(Int($0)) }.map { $0 - Int64(tokens.lowerBound) } + [
                Int64(tokens.count)
            ]
        result.hook = hook
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
    /// What it reads of a batch beside what every batch has.
    var needs: BatchNeeds { get }
}

extension AttributionScorer {
    /// Per-token scores are what most scorers give.
    public var scoresTokens: Bool { true }
    /// Most scorers leave totals to the host.
    public var accumulation: (any AccumulatingScore)? { nil }
    /// Nothing that costs more.
    public var needs: BatchNeeds { [] }
}
