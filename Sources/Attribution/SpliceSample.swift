import LanguageModeling
import LinearAlgebra
import TensorFiles

/// A few sequences at the hook point: tokens, the model's own activations there, and which positions a
/// reconstruction replaces. Computed once, then spliced with as many SAEs as there are.
public struct SpliceSample: Sendable {
    public let tokens: TokenBatch
    /// x [N, d]: the activations at the hook point.
    public let residual: Matrix
    /// [N] 1 where x is replaced.
    public let replaced: [UInt8]

    /// Runs the model up to `hook`.
    ///
    /// - Throws: what the model throws.
    public init(_ tokens: TokenBatch, model: any LanguageModel, hook: HookPoint, policy: SplicePolicy) throws {
        self.tokens = tokens
        residual = try model.residual(of: tokens, at: hook)
        replaced = policy.replaced(tokens, residual: residual)
    }

    /// A sample of parts that are there.
    public init(tokens: TokenBatch, residual: Matrix, replaced: [UInt8]) {
        self.tokens = tokens
        self.residual = residual
        self.replaced = replaced
    }

    /// N = B·T.
    public var tokenCount: Int { replaced.count }

    /// Positions that are replaced.
    public var replacedCount: Int { replaced.reduce(0) { $0 + Int($1) } }

    /// Replaced positions that some loss comes at or after: all but the last of each sequence, which predicts nothing.
    var reachingCount: Int {
        zip(replaced, tokens.targets).reduce(0) { $0 + ($1.1 < 0 ? 0 : Int($1.0)) }
    }

    /// Whether some loss of the mask [N] comes at a replaced position or after one, in its
    /// sequence: attention looks back.
    func reaches(losses mask: [UInt8]) -> Bool {
        (0..<tokens.sequenceCount).contains { sequence in
            let positions = sequence * tokens.length..<(sequence + 1) * tokens.length
            guard let first = positions.first(where: { replaced[$0] != 0 }),
                let last = positions.last(where: { mask[$0] != 0 })
            else { return false }
            return first <= last
        }
    }

    /// The activations with `reconstruction` [N, d] at the replaced positions.
    public func spliced(_ reconstruction: Matrix) -> Matrix {
        let result = residual.copy()
        for r in 0..<residual.rows where replaced[r] != 0 {
            result.row(r).update(from: reconstruction.row(r), count: residual.columns)
        }
        return result
    }
}
