/// What the backward pass takes for constant: the forward pass is the same under every rule.
///
/// RelP (arXiv:2508.21258) is `.relp`: norms divide by constants, act(x) is x times a constant, a product of two gives each
/// factor half of the gradient. Soft caps differentiate as usual.
public struct BackwardRule: OptionSet, Sendable, Codable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// What norms divide by.
    public static let constantNorms = BackwardRule(rawValue: 1)
    /// act(x)/x in perceptrons, whose gated products halve.
    public static let linearPerceptrons = BackwardRule(rawValue: 2)
    /// The weights of attention.
    public static let constantAttention = BackwardRule(rawValue: 4)

    /// The derivative.
    public static let plain: BackwardRule = []
    /// RelP.
    public static let relp: BackwardRule = [.constantNorms, .linearPerceptrons]
}
