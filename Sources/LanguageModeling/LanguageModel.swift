import LinearAlgebra
import TensorFiles

/// A decoder-only language model whose activations can be read, replaced and differentiated at one hook point.
///
/// It knows tokens and numbers, not text, and nothing of what replaces an activation or why.
///
/// At a hook point stands the residual stream between two blocks, before any final norm, or what half a block adds to it
/// (`HookPoint`). What is replaced there is all that changes: where it is half a block's result, the stream that it is added to is the
/// model's own. Positions of every sequence count from 0, attention is causal and never crosses sequences. Matrices are
/// `[B·T, d]`, sequence after sequence. B sequences, T tokens each, d = `configuration.dModel`.
///
/// Every method throws `LanguageModelError` for a block or token id the model does not have and for sequences longer
/// than its context.
public protocol LanguageModel: AnyObject, Sendable {
    /// Sizes and constants.
    var configuration: ModelConfiguration { get }

    /// The activations `[B·T, d]` at `hook`; what comes after it is not run.
    func residual(of batch: TokenBatch, at hook: HookPoint) throws -> Matrix

    /// Next-token losses `[B·T]` in nats when `residual` takes the place of the activations at `hook`:
    /// position t holds −log p(token t + 1), the last position of a sequence 0.
    func losses(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float]

    /// The same losses, and the gradient `[B·T, d]` of their sum with respect to `residual`.
    func lossesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint
    ) throws -> (losses: [Float], gradient: Matrix)

    /// What a metric is `[B·T]` when `residual` takes the place of the activations at `hook`; 0 in padding.
    ///
    /// - Throws: `LanguageModelError.metricToken`, `.metricLayer`.
    func values(of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric) throws -> [Float]

    /// The same values m, and the gradient `[B·T, d]` of Σ v_t m_t with respect to `residual` under a rule, with weights v
    /// `[B·T]`, all 1 if there are none.
    func valuesAndGradient(
        of batch: TokenBatch, residual: Matrix, at hook: HookPoint, metric: TokenMetric, weights: [Float]?,
        rule: BackwardRule
    ) throws -> (values: [Float], gradient: Matrix)

    /// σ `[B·T]`: what the final norm divides the stream by that follows from `residual`.
    ///
    /// - Throws: `LanguageModelError.noHead`.
    func finalScales(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> [Float]

    /// Rows `[n, d]` of the vocabulary projection with the final norm's weights in them: of token v the row u with
    /// logit v = ⟨u, h⟩/σ + constant for a stream h after the last block; of −1 the mean row of all tokens.
    ///
    /// - Throws: `LanguageModelError.metricToken`, `.noHead`.
    func headRows(_ ids: [Int32]) throws -> Matrix

    /// Tokens, of whole sequences that are changed in the middle, that a question about suffixes should bring together.
    var preferredReplayTokens: Int { get }

    /// Runs from `residual` to the losses and keeps what is needed to run suffixes of the sequences again. `residual` stays as it is
    /// as long as they are.
    func replay(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> any SuffixReplay

    /// The logits `[B·T, V]` that follow from `residual` at `hook`; V is the vocabulary, so this is for a
    /// few positions at a time.
    func logits(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> Matrix

    /// What each of the `directions` `[n, d]` adds to the logits `[n, V]` per unit, as it reaches them directly: through the
    /// final norm's weights, its division by the root mean square left out, and the vocabulary projection.
    func directLogits(of directions: Matrix) -> Matrix
}

extension LanguageModel {
    /// Two passes' worth of each lane.
    public var preferredReplayTokens: Int { 2048 * Lanes.shared.count }
}
