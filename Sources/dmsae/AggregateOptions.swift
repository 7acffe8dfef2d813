import ArgumentParser
import Attribution

/// How scores of tokens become one number a latent.
struct AggregateOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "How scores of tokens become one number a latent: quantile:Q, mean, rms, max or trimmed:P; default quantile:0.99.",
            valueName: "HOW"))
    var aggregate: String?
    @Option(help: "Aggregate over all scored tokens, the default, or over those where the latent is active.")
    var over: AggregateScope?
    @Flag(help: "Aggregate signed scores instead of absolute ones.")
    var signed = false

    var scope: AggregateScope { over ?? .all }

    /// - Throws: `AttributionError.badAggregate`.
    func resolved() throws -> Aggregate { try aggregate.map { try Aggregate($0) } ?? .standard }

    /// What was asked for in vain is said: totals are the scorers' own, and nothing of them is aggregated here.
    func warnOfUnused(_ scorers: [any AttributionScorer]) {
        let unused = [
            aggregate.map { "--aggregate \($0)" }, over.map { "--over \($0.rawValue)" }, signed ? "--signed" : nil,
        ].compactMap { $0 }
        guard !unused.isEmpty, !scorers.contains(where: \.scoresTokens) else { return }
        let names = scorers.map(\.name)
        Terminal.shared.warn(
            (names.count == 1 ? "scorer \(names[0]) gives" : "scorers \(names.joined(separator: ", ")) give")
                + " each latent one number of \(names.count == 1 ? "its" : "their") own, so \(unused.joined(separator: " and ")) "
                + "\(unused.count == 1 ? "does" : "do") nothing; they are for scorers of tokens, as gxa and ig are")
    }
}
