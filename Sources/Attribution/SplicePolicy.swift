import Kernels
import LanguageModeling
import LinearAlgebra

/// Which positions keep the model's own activation when a reconstruction is spliced in, and are left out of scores
/// and averages.
///
/// The first position of a sequence, separators and a few other tokens are attention sinks: their norm is a hundred
/// times the median, no SAE reconstructs them, and the model breaks without them. Padding is none of the positions, and counts nowhere.
public struct SplicePolicy: Sendable {
    /// The first n positions of every sequence.
    public var keepFirst: Int
    /// Token ids that are kept.
    public var specialTokens: Set<Int32>
    /// Positions whose norm exceeds this multiple of the batch's median; nil for none.
    public var sinkRatio: Float?

    /// The first position, the given special tokens and norms above ten times the median.
    public init(keepFirst: Int = 1, specialTokens: Set<Int32> = [], sinkRatio: Float? = 10) {
        self.keepFirst = keepFirst
        self.specialTokens = specialTokens
        self.sinkRatio = sinkRatio
    }

    /// [N] 1 where the residual x [N, d] is to be replaced, 0 where the model's own stays.
    public func replaced(_ tokens: TokenBatch, residual x: Matrix) -> [UInt8] {
        let norms = (0..<x.rows).map { kernels.dot(x.row($0), x.row($0), x.columns).squareRoot() }
        let sorted = (tokens.counts == nil ? norms : norms.indices.filter { !tokens.isPadding($0) }.map { norms[$0] })
            .sorted()
        let median = sorted.isEmpty ? 0 : sorted[sorted.count / 2]
        let bound = sinkRatio.map { $0 * median } ?? .infinity
        return norms.indices.map {
            $0 % tokens.length < keepFirst || specialTokens.contains(tokens.ids[$0]) || norms[$0] > bound
                || tokens.isPadding($0) ? 0 : 1
        }
    }

    /// [N] 1 where the loss of predicting the next token enters an average: neither the position's own token nor its
    /// target is special, and there is a target.
    public func averaged(_ tokens: TokenBatch) -> [UInt8] {
        tokens.targets.enumerated().map { position, target in
            target < 0 || specialTokens.contains(tokens.ids[position]) || specialTokens.contains(target) ? 0 : 1
        }
    }
}
