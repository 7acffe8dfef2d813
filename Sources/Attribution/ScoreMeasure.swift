/// What a score of a latent is, for those who are told that there is none.
public enum ScoreMeasure: Equatable, Sendable {
    /// Of a file that does not say.
    case unknown
    /// Scores of tokens, aggregated; signed ones if it says so.
    case aggregate(Aggregate, AggregateScope, isSigned: Bool)
    /// The scorer's own total, by its name.
    case total(String)

    /// For tables: "quantile:0.99", or the output's name, as "ablation".
    var name: String {
        switch self {
        case .unknown: "score"
        case .aggregate(let aggregate, .all, _): "\(aggregate)"
        case .aggregate(let aggregate, .active, _): "\(aggregate) over active tokens"
        case .total(let name): name
        }
    }

    /// What helps where no score is positive.
    var advice: String {
        switch self {
        case .unknown: "score other or more tokens, or a wider --prefix"
        case .aggregate(.quantile(let q), .all, isSigned: false) where q < 1:
            "a latent active on fewer than \(Self.percent(1 - q))% of tokens has a \(q) quantile of 0: score more tokens, aggregate "
                + "over active tokens (--over active, in a recipe score.over), or train longer"
        case .aggregate(_, _, isSigned: true):
            "signed scores are above 0 where a latent helps: aggregate absolute ones (without --signed, in a recipe score.signed), or score a wider --prefix"
        case .aggregate(.trimmedMean(let p), .all, isSigned: false):
            "a latent active on fewer than \(Self.percent(p))% of tokens has a trimmed mean of 0: aggregate over active tokens (--over "
                + "active, in a recipe score.over) or otherwise (--aggregate mean, score.aggregate)"
        case .aggregate: "none of them fires there with an effect: score other or more tokens, or a wider --prefix"
        case .total:
            "removing any of them helps or does nothing, as this scorer measures it: score more sequences, or a wider --prefix"
        }
    }

    private static func percent(_ share: Double) -> String { plain((share * 1e6).rounded() / 1e4) }

    private static func plain(_ value: Double) -> String {
        value == value.rounded() ? "\(Int(value))" : "\(value)"
    }
}
