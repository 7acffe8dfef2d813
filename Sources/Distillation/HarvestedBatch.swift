import Attribution
import Kernels
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// The activations of a batch of tokens at a hook point, and which of them are rows to train on: what a harvest stores and a live
/// training shuffles.
///
/// Positions that a splice would keep as the model's own (first, special, attention sinks) are none: trained on, their norms
/// would own the loss.
struct HarvestedBatch {
    /// What becomes of a position.
    enum Fate {
        case row
        /// First of its sequence, or of a special token.
        case special
        /// An attention sink.
        case sink
        case padding
    }

    /// [B·T, d].
    let x: Matrix
    /// [B·T].
    let fates: [Fate]

    /// Runs the model to the hook point.
    ///
    /// - Parameter token: tokens of the text before the batch, for the message.
    /// - Throws: what the model throws; `DistillationError.notFinite`.
    init(_ batch: TokenBatch, _ model: any LanguageModel, at hook: HookPoint, _ policy: SplicePolicy, token: Int) throws
    {
        let x = try model.residual(of: batch, at: hook)
        guard x.isFinite else { throw DistillationError.notFinite(hook: hook, token: token) }
        var (noSinks, usual) = (policy, policy)
        (noSinks.sinkRatio, usual.sinkRatio) = (nil, OutlyingRows.ratio)
        let (replaced, unspecial) = (policy.replaced(batch, residual: x), noSinks.replaced(batch, residual: x))
        let isUsual = usual.replaced(batch, residual: x)
        outlying = Set(replaced.indices.filter { replaced[$0] != 0 && isUsual[$0] == 0 })
        self.x = x
        fates = (0..<x.rows).map { r in
            if batch.isPadding(r) { return .padding }
            return replaced[r] != 0 ? .row : unspecial[r] == 0 ? .special : .sink
        }
    }

    /// Rows whose norm is above `OutlyingRows.ratio` times the median of the batch.
    let outlying: Set<Int>

    /// ‖x‖² of a row.
    func square(_ row: Int) -> Double { Double(kernels.dot(x.row(row), x.row(row), x.columns)) }
}
