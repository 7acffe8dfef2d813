import LinearAlgebra

// What each scorer said, as rankings of the latents.
extension Comparison {
    /// Scores of tokens, aggregated as asked.
    func tokenRanking(_ compared: ComparedScorer, _ byLatent: (offsets: [Int], order: [Int32])) -> Ranking {
        let evidence = TokenEvidence(
            pass.fired, byLatent, scores: compared.scores, aggregate: settings.aggregate, scope: settings.scope,
            isSigned: settings.isSigned)
        let what = settings.isSigned ? "signed scores" : "|score|"
        return Ranking(
            name: compared.label,
            meaning: "\(settings.aggregate) of \(what) over \(settings.scope == .all ? "all" : "active") tokens",
            scores: evidence.scores(weights: ones), evidence: evidence, scorer: compared)
    }

    /// The scorer's own total and its other outputs that rank latents.
    func totalRankings(_ compared: ComparedScorer) throws -> [Ranking] {
        guard let accumulation = compared.scorer.accumulation else { return [] }
        let plan = pass.plan(compared)
        let whole = try AccumulatedScore(accumulation, plan)
        for state in compared.states {
            // There is one, and it is whole.
            try compared.isSequential
                ? whole.restore(state, from: compared.label) : whole.merge(state, from: compared.label)
        }
        let results = TotalResults(compared, try whole.results())
        guard !results.values.isEmpty else { return [] }
        return compared.isSplit
            ? splitRankings(results, accumulation, plan) : sequenceRankings(results, plan.sequenceCount)
    }

    /// Of a scorer that has no values of (latent, sequence) pairs: each sequence's own state says what it gives.
    private func splitRankings(
        _ results: TotalResults, _ accumulation: any AccumulatingScore, _ plan: ScoringPlan
    ) -> [Ranking] {
        results.values.indices.filter { i in
            let output = results.values[i].output
            return output.higherIsBetter && output.standardErrorOf == nil && output.countOf == nil
        }.map { i in
            results.ranking(
                i, results.known(i), StateEvidence(accumulation, plan, states: results.compared.states, output: i))
        }
    }

    /// The total, with the pairs that it is made of as its evidence, and every other output
    /// of (latent, sequence) pairs.
    private func sequenceRankings(_ results: TotalResults, _ sequences: Int) -> [Ranking] {
        let terms = results[.terms].map {
            SequenceEvidence(
                $0.values, expansions: results[.expansions]?.values, sizes: results[.sizes]?.values,
                sequences: sequences)
        }
        var rankings = [results.ranking(0, results.known(0), terms)]
        for (index, result) in results.values.enumerated()
        where result.output.shape == .latentSequence && result.output.role == nil && result.output.higherIsBetter {
            let evidence = SequenceEvidence(result.values, expansions: nil, sizes: nil, sequences: sequences)
            rankings.append(results.ranking(index, evidence.scores(weights: ones), evidence))
            if let truth = results[.terms] { addFooting(results.compared.label, result, truth) }
        }
        return rankings
    }

    private func addFooting(
        _ label: String, _ estimate: TotalResults.Value, _ truth: TotalResults.Value
    ) {
        let S = pass.fired.sequenceCount
        var fires = Set<Int>()
        for e in pass.fired.latents.indices { fires.insert(Int(pass.fired.latents[e]) * S + pass.fired.sequence(e)) }
        let known = fires.sorted().filter { !estimate.values[$0].isNaN && !truth.values[$0].isNaN }
        let (a, b) = (known.map { estimate.values[$0] }, known.map { truth.values[$0] })
        guard known.count > 2 else { return }
        footings.append(
            ComparisonRecord.Footing(
                estimate: "\(label):\(estimate.output.name)", truth: "\(label):\(truth.output.name)",
                count: known.count, pearson: pearsonCorrelation(a, b), spearman: spearmanCorrelation(a, b)))
    }
}

/// What a scorer of totals came to over a whole pass.
private struct TotalResults {
    typealias Value = (output: ScorerOutput, values: [Double])

    let compared: ComparedScorer
    /// Every output; the total first.
    let values: [Value]

    init(_ compared: ComparedScorer, _ values: [Value]) {
        self.compared = compared
        self.values = values
    }

    /// The output that is this part of the total.
    subscript(role: ScorerOutput.Role) -> Value? { values.first { $0.output.role == role } }

    /// The values of an output, 0 where there is no evidence.
    func known(_ index: Int) -> [Double] { values[index].values.map { $0.isNaN ? 0 : $0 } }

    /// An output as a ranking.
    func ranking(_ index: Int, _ scores: [Double], _ evidence: (any ScoreEvidence)?) -> Comparison.Ranking {
        let output = values[index].output
        return Comparison.Ranking(
            name: index == 0 ? compared.label : "\(compared.label):\(output.name)",
            meaning: "\(output.description) [\(output.unit)]", scores: scores, evidence: evidence,
            scorer: index == 0 ? compared : nil,
            standardErrors: values.first { $0.output.standardErrorOf == index }?.values,
            wasDrawn: index == 0 ? wasDrawn : nil)
    }

    /// Whether some pair was not asked, or stands for others; nil for a scorer that does not say.
    private var wasDrawn: Bool? {
        guard let expansions = self[.expansions]?.values, let sizes = self[.sizes]?.values else { return nil }
        // A pair of size 0 has no effect for sure, and is not asked. The quotient of a pair that was is
        // 1 but for roundings.
        return zip(expansions, sizes).contains { $1 > 0 && abs($0 - 1) > 1e-9 }
    }
}
