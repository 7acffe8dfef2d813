import LanguageModeling
import LinearAlgebra

/// What an evaluation measures the model's answer by: of a sequence M = Σ_t v_t·m_t.
public struct EvaluationMetric: Sendable {
    /// m, one number a token.
    public enum Kind: Sendable, Equatable {
        /// Next-token loss, nats.
        case loss
        /// KL of the model's own distribution, x in the place of x̂, and the spliced one's, nats.
        case divergence
        /// Logit of the first token less that of the second.
        case logitDifference(Int32, Int32)
        /// ⟨u, h⟩ with u [d] and h the stream after block `layer`.
        case direction([Float], layer: Int)
    }

    public var kind: Kind
    /// v [N] of the batch's tokens; nil for 1 each.
    public var weights: [Float]?

    /// A metric of that kind.
    public init(_ kind: Kind, weights: [Float]? = nil) {
        self.kind = kind
        self.weights = weights
    }

    /// Σ losses, what every evaluation measures that says nothing else.
    public static let loss = EvaluationMetric(.loss)
    var isLoss: Bool { kind == .loss && weights == nil }
}

// What an evaluation answers that knows the loss only.
extension SplicedEvaluation {
    public func changes(_ groups: [EditGroup], of metric: EvaluationMetric) throws -> [Double] {
        guard metric.isLoss else { throw AttributionError.metricUnsupported("it knows the loss only") }
        return try lossChanges(groups)
    }

    public func gradients(at points: [GradientPoint], of metric: EvaluationMetric, rule: BackwardRule) throws
        -> [Double]
    {
        guard metric.isLoss, rule == .plain else { throw AttributionError.metricUnsupported("it knows the loss only") }
        return try gradients(at: points)
    }

    public func gradients(
        along paths: [GradientPath], alphas: [Double], weights: [Double], of metric: EvaluationMetric,
        rule: BackwardRule
    ) throws {
        guard metric.isLoss, rule == .plain else { throw AttributionError.metricUnsupported("it knows the loss only") }
        try gradients(along: paths, alphas: alphas, weights: weights)
    }

    public func headRows(_ tokens: [Int32]) throws -> Matrix {
        throw AttributionError.metricUnsupported("it has no head")
    }

    public func finalScales() throws -> [Float] { throw AttributionError.metricUnsupported("it has no head") }
}
