/// How a latent's scores over many tokens become one number.
public enum Aggregate: Sendable, Equatable, CustomStringConvertible {
    /// The q-quantile, numpy's linear interpolation between order statistics.
    case quantile(Double)
    /// The mean.
    case mean
    /// √ of the mean square.
    case rootMeanSquare
    /// The largest.
    case maximum

    /// The paper's: the 0.99 quantile (arXiv:2512.24975).
    public static let standard = Aggregate.quantile(0.99)

    /// Reads "quantile:0.99", "mean", "rms", "max".
    ///
    /// - Throws: `AttributionError.badAggregate`.
    public init(_ text: String) throws {
        switch text {
        case "mean": self = .mean
        case "rms": self = .rootMeanSquare
        case "max": self = .maximum
        default:
            guard text.hasPrefix("quantile:"), let q = Double(text.dropFirst("quantile:".count)), (0...1).contains(q)
            else { throw AttributionError.badAggregate(text) }
            self = .quantile(q)
        }
    }

    /// As `init` reads it.
    public var description: String {
        switch self {
        case .quantile(let q): "quantile:\(q)"
        case .mean: "mean"
        case .rootMeanSquare: "rms"
        case .maximum: "max"
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
