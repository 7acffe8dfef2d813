/// How a latent's scores over many tokens become one number.
public enum Aggregate: Sendable, Equatable, CustomStringConvertible {
    /// The q-quantile, numpy's linear interpolation between order statistics.
    case quantile(Double)
    case mean
    /// √ of the mean square.
    case rootMeanSquare
    case maximum
    /// The mean of what is left when the fraction is cut from each end, scipy's `trim_mean`.
    case trimmedMean(Double)

    /// The paper's: the 0.99 quantile (arXiv:2512.24975).
    public static let standard = Aggregate.quantile(0.99)

    /// Reads "quantile:0.99", "mean", "rms", "max", "trimmed:0.01".
    ///
    /// - Throws: `AttributionError.badAggregate`.
    public init(_ text: String) throws {
        switch text {
        case "mean": self = .mean
        case "rms": self = .rootMeanSquare
        case "max": self = .maximum
        default:
            func number(after prefix: String) -> Double? {
                text.hasPrefix(prefix) ? Double(text.dropFirst(prefix.count)) : nil
            }
            if let q = number(after: "quantile:"), (0...1).contains(q) {
                self = .quantile(q)
            } else if let p = number(after: "trimmed:"), p >= 0, p < 0.5 {
                self = .trimmedMean(p)
            } else {
                throw AttributionError.badAggregate(text)
            }
        }
    }

    /// As `init` reads it.
    public var description: String {
        switch self {
        case .quantile(let q): "quantile:\(q)"
        case .mean: "mean"
        case .rootMeanSquare: "rms"
        case .maximum: "max"
        case .trimmedMean(let p): "trimmed:\(p)"
        }
    }
}

/// Which tokens a latent's aggregate is over.
public enum AggregateScope: String, Sendable, CaseIterable, Codable {
    /// Every scored token; a token where the latent is silent has score 0. The paper's definition.
    case all
    /// Tokens where the latent fires.
    case active
}
