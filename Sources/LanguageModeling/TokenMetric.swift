import LinearAlgebra

/// What a model's answer is measured by, one number m_t a token.
public enum TokenMetric: @unchecked Sendable {
    /// −log p(token t + 1), nats; 0 where there is no next token.
    case loss
    /// KL(p° ‖ p) = Σ_v p°_v log(p°_v / p_v), nats: p° follows from these activations `[B·T, d]` at the hook point.
    case divergence(from: Matrix)
    /// The logit of one token less that of another, after any soft cap.
    case logitDifference(Int32, Int32)
    /// ⟨u, h_t⟩ with u `[d]` and h the residual stream after block `layer`.
    case direction([Float], layer: Int)
}

extension LanguageModel {
    /// Refuses a metric that the model does not have: a token outside the vocabulary, a layer before the hook point.
    package func check(_ metric: TokenMetric, at block: Int) throws {
        switch metric {
        case .loss, .divergence: return
        case .logitDifference(let a, let b):
            for id in [a, b] where !(0..<Int32(clamping: configuration.vocabularySize)).contains(id) {
                throw LanguageModelError.metricToken(id: id, vocabularySize: configuration.vocabularySize)
            }
        case .direction(let direction, let layer):
            precondition(direction.count == configuration.dModel, "a direction of \(direction.count) numbers")
            guard (block..<configuration.layerCount).contains(layer) else {
                throw LanguageModelError.metricLayer(
                    layer: layer, first: block, layerCount: configuration.layerCount)
            }
        }
    }
}
