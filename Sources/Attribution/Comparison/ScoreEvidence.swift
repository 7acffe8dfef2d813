import LinearAlgebra

/// What a scorer found, sequence by sequence, so that its scores [m] can be had of sequences drawn again.
package protocol ScoreEvidence: AnyObject {
    /// A [m], with sequence s counted `weights[s]` times; all 1 gives the scores of the pass.
    ///
    /// - Throws: what the scorer throws.
    func scores(weights: [Int]) throws -> [Double]
}

/// Scores of tokens, aggregated as asked.
package final class TokenEvidence: ScoreEvidence {
    private let offsets: [Int]
    /// Falling within each latent.
    private let scores: [Float]
    private let sequences: [Int32]
    private let scoredTokens: [Int]
    private let aggregate: Aggregate
    private let scope: AggregateScope

    /// Scores parallel to the entries; absolute ones unless `isSigned`.
    package init(
        _ fired: FiredEntries, _ byLatent: (offsets: [Int], order: [Int32]), scores given: [Float],
        aggregate: Aggregate, scope: AggregateScope, isSigned: Bool
    ) {
        offsets = byLatent.offsets
        var order = byLatent.order
        let values = isSigned ? given : given.map { abs($0) }
        for j in 0..<fired.latentCount {
            order[offsets[j]..<offsets[j + 1]].sort { (values[Int($0)], $1) > (values[Int($1)], $0) }
        }
        scores = order.map { values[Int($0)] }
        sequences = order.map { Int32(fired.sequence(Int($0))) }
        scoredTokens = fired.scoredTokens
        self.aggregate = aggregate
        self.scope = scope
    }

    package func scores(weights: [Int]) -> [Double] { scores(weights: weights, aggregate, scope) }

    /// A [m] by another aggregate.
    package func scores(weights: [Int], _ aggregate: Aggregate, _ scope: AggregateScope) -> [Double] {
        let total = zip(weights, scoredTokens).reduce(0) { $0 + $1.0 * $1.1 }
        return (0..<offsets.count - 1).map { j in
            let own = offsets[j]..<offsets[j + 1]
            let active = own.reduce(0) { $0 + weights[Int(sequences[$1])] }
            let count = scope == .all ? total : active
            guard active > 0, count > 0 else { return 0 }
            let ordered = OrderedScores(scores[own], zeros: count - active) { weights[Int(self.sequences[$0])] }
            switch aggregate {
            case .mean: return ordered.sum(squared: false) / Double(count)
            case .rootMeanSquare: return (ordered.sum(squared: true) / Double(count)).squareRoot()
            case .maximum: return ordered.largest ?? 0
            case .quantile(let q): return ordered.quantile(q, count: count)
            case .trimmedMean(let p): return ordered.trimmedMean(p, count: count)
            }
        }
    }
}

/// Values y of (latent, sequence) pairs whose mean over sequences is the score, such as loss_delta of ablation.
package final class SequenceEvidence: ScoreEvidence {
    /// [m, S]; NaN where there is none.
    private let values: [Double]
    /// e [m, S]: how many pairs each stands for; nil where all were evaluated.
    private let expansions: [Double]?
    /// x [m, S]
    private let sizes: [Double]?
    private let sequenceCount: Int

    /// Evidence of what was drawn with `expansions` e in proportion to `sizes` x, or without them of everything.
    package init(_ values: [Double], expansions: [Double]?, sizes: [Double]?, sequences: Int) {
        self.values = values
        self.expansions = expansions
        self.sizes = sizes
        sequenceCount = sequences
    }

    /// (Σ w x/Σ w)·(Σ w e y)/(Σ w e x), sums over sequences; without e and x the mean Σ w y/Σ w. 0
    /// where nothing is known.
    package func scores(weights: [Int]) -> [Double] {
        let total = Double(max(1, weights.reduce(0, +)))
        return (0..<values.count / max(1, sequenceCount)).map { j in
            var (size, known, sum) = (0.0, 0.0, 0.0)
            for s in 0..<sequenceCount where weights[s] > 0 {
                let (i, w) = (j * sequenceCount + s, Double(weights[s]))
                let e = expansions?[i] ?? 1
                let x = sizes?[i] ?? 1
                size += w * x
                if e == 0 || values[i].isNaN { continue }
                known += w * e * x
                sum += w * e * values[i]
            }
            return known == 0 ? 0 : size / total * sum / known
        }
    }
}

/// States of a scorer that gives totals, one a sequence, merged as often as asked.
package final class StateEvidence: ScoreEvidence {
    private let score: any AccumulatingScore
    private let plan: ScoringPlan
    private let states: [[UInt8]]
    private let output: Int

    /// Output `output` of a score with these states.
    package init(_ score: any AccumulatingScore, _ plan: ScoringPlan, states: [[UInt8]], output: Int) {
        self.score = score
        self.plan = plan
        self.states = states
        self.output = output
    }

    package func scores(weights: [Int]) throws -> [Double] {
        let whole = try AccumulatedScore(score, plan)
        for (state, weight) in zip(states, weights) {
            for _ in 0..<weight { try whole.merge(state, from: "a sequence's part") }
        }
        return try whole.results()[output].values.map { $0.isNaN ? 0 : $0 }
    }
}
