import LinearAlgebra

/// Scorers compared on what they said: rank correlations, cores, curves, each with what it owes to the sequences drawn.
public final class Comparison {
    /// How numbers are taken from what scorers said.
    public struct Settings: Sendable {
        /// Of scores of tokens.
        public var aggregate = Aggregate.standard
        /// Of scores of tokens.
        public var scope = AggregateScope.all
        /// Whether signs count.
        public var isSigned = false
        /// The core that is meant where only one is.
        public var tau = 0.9
        /// Samples of sequences for the intervals.
        public var draws = 200
        /// What they are drawn from.
        public var seed: UInt64 = 1

        /// The paper's aggregate and τ.
        public init() {}
    }

    /// Fractions that cores are compared at.
    public static let fractions = [0.5, 0.7, 0.9, 0.99]

    /// One ranking: a scorer's own, or another of its outputs.
    struct Ranking {
        let name: String
        let meaning: String
        let scores: [Double]
        let evidence: (any ScoreEvidence)?
        let scorer: ComparedScorer?
        var standardErrors: [Double]?
        var wasDrawn: Bool?

        var order: [Int] { scores.indices.sorted { (scores[$0], $1) > (scores[$1], $0) } }
    }

    let pass: ComparisonPass
    let settings: Settings
    private(set) var rankings: [Ranking] = []
    var footings: [ComparisonRecord.Footing] = []

    /// Aggregates what the scorers of a finished pass said.
    public init(_ pass: ComparisonPass, _ settings: Settings) {
        self.pass = pass
        self.settings = settings
        let byLatent = pass.fired.byLatent()
        for compared in pass.scorers {
            do {
                if let failure = compared.failure { throw Failed(description: failure) }
                for ranking in compared.scorer.scoresTokens
                    ? [tokenRanking(compared, byLatent)] : try totalRankings(compared)
                { take(ranking) }
            } catch {
                failures.append(ComparisonRecord.Fact(compared.label, "\(error)"))
            }
        }
    }

    /// A method that gives no latent a positive score selects none, and ranks them by how they are numbered.
    private func take(_ ranking: Ranking) {
        let isOfTokens = ranking.scorer?.scorer.scoresTokens ?? false
        do {
            _ = try CoreSelection(
                ranking.scores, fraction: settings.tau, tokens: pass.scoredTokens,
                measure: isOfTokens
                    ? .aggregate(settings.aggregate, settings.scope, isSigned: settings.isSigned) : .total(ranking.name)
            )
            rankings.append(ranking)
        } catch {
            failures.append(ComparisonRecord.Fact(ranking.name, "\(error)"))
        }
    }

    private struct Failed: Error, CustomStringConvertible {
        let description: String
    }

    /// Scorers that have something to say; what stopped is in the record's failures.
    public var scorerCount: Int { rankings.count { $0.scorer != nil } }

    /// Why the others have not.
    public private(set) var failures: [ComparisonRecord.Fact] = []

    /// Names and latents in falling order of score, of every method.
    public var orders: [(name: String, latents: [Int])] { rankings.map { ($0.name, $0.order) } }

    var ones: [Int] { [Int](repeating: 1, count: pass.fired.sequenceCount) }
}
