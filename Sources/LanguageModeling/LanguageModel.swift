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

    /// Runs from `residual` to the losses and keeps what is needed to run suffixes of the sequences again.
    func replay(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> any SuffixReplay

    /// The logits `[B·T, V]` that follow from `residual` at `hook`; V is the vocabulary, so this is for a
    /// few positions at a time.
    func logits(of batch: TokenBatch, residual: Matrix, at hook: HookPoint) throws -> Matrix

    /// What each of the `directions` `[n, d]` adds to the logits `[n, V]` per unit, as it reaches them directly: through the
    /// final norm's weights, its division by the root mean square left out, and the vocabulary projection.
    func directLogits(of directions: Matrix) -> Matrix
}
