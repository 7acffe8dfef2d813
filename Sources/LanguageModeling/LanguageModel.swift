import LinearAlgebra

/// A decoder-only language model whose residual stream can be read, replaced and differentiated at one layer.
///
/// It knows tokens and numbers, not text, and nothing of what replaces the residual stream or why.
///
/// Block l counts from 0; "the residual after layer l" is what block l hands to block l + 1, before any final norm.
/// Positions of every sequence count from 0, attention is causal and never crosses sequences. Matrices are
/// `[B·T, d]`, sequence after sequence. B sequences, T tokens each, d = `configuration.dModel`.
///
/// Every method throws `LanguageModelError` for a layer or token id the model does not have and for sequences longer
/// than its context.
public protocol LanguageModel: AnyObject, Sendable {
    /// Sizes and constants.
    var configuration: ModelConfiguration { get }

    /// The residual stream `[B·T, d]` after layer `layer`; later layers are not run.
    func residual(of batch: TokenBatch, afterLayer layer: Int) throws -> Matrix

    /// Next-token losses `[B·T]` in nats when `residual` takes the place of the residual stream after layer `layer`:
    /// position t holds −log p(token t + 1), the last position of a sequence 0.
    func losses(of batch: TokenBatch, residual: Matrix, afterLayer layer: Int) throws -> [Float]

    /// The same losses, and the gradient `[B·T, d]` of their sum with respect to `residual`.
    func lossesAndGradient(
        of batch: TokenBatch, residual: Matrix, afterLayer layer: Int
    ) throws -> (losses: [Float], gradient: Matrix)

    /// Runs from `residual` to the losses and keeps what is needed to run suffixes of the sequences again.
    func replay(of batch: TokenBatch, residual: Matrix, afterLayer layer: Int) throws -> any SuffixReplay

    /// The logits `[B·T, V]` that follow from `residual` after layer `layer`; V is the vocabulary, so this is for a
    /// few positions at a time.
    func logits(of batch: TokenBatch, residual: Matrix, afterLayer layer: Int) throws -> Matrix

    /// What each of the `directions` `[n, d]` adds to the logits `[n, V]` per unit, as it reaches them directly: through the
    /// final norm's weights, its division by the root mean square left out, and the vocabulary projection.
    func directLogits(of directions: Matrix) -> Matrix
}
