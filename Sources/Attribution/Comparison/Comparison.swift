import Foundation
import LinearAlgebra

func log2OnePlus(_ n: Int) -> Double { log2(1 + Double(n)) }

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

    private let pass: ComparisonPass
    private let settings: Settings
    private(set) var rankings: [Ranking] = []
    private var footings: [ComparisonRecord.Footing] = []

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

    private var ones: [Int] { [Int](repeating: 1, count: pass.fired.sequenceCount) }

    private func tokenRanking(_ compared: ComparedScorer, _ byLatent: (offsets: [Int], order: [Int32])) -> Ranking {
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
    private func totalRankings(_ compared: ComparedScorer) throws -> [Ranking] {
        guard let accumulation = compared.scorer.accumulation else { return [] }
        let plan = pass.plan(compared)
        let whole = try AccumulatedScore(accumulation, plan)
        for state in compared.states { try whole.merge(state, from: compared.label) }
        let results = try whole.results()
        guard let own = results.first else { return [] }
        let total = own.values.map { $0.isNaN ? 0 : $0 }
        var rankings: [Ranking] = []
        func add(_ index: Int, _ scores: [Double], _ evidence: (any ScoreEvidence)?) {
            let output = results[index].output
            let errors = results.first { $0.output.standardErrorOf == index }?.values
            rankings.append(
                Ranking(
                    name: index == 0 ? compared.label : "\(compared.label):\(output.name)",
                    meaning: "\(output.description) [\(output.unit)]", scores: scores, evidence: evidence,
                    scorer: index == 0 ? compared : nil, standardErrors: errors,
                    wasDrawn: index == 0 ? Self.wasDrawn(results) : nil))
        }
        if compared.isSplit {
            for (i, result) in results.enumerated()
            where result.output.higherIsBetter && result.output.standardErrorOf == nil && result.output.countOf == nil {
                add(
                    i, i == 0 ? total : result.values.map { $0.isNaN ? 0 : $0 },
                    StateEvidence(accumulation, plan, states: compared.states, output: i))
            }
            return rankings
        }
        func values(_ role: ScorerOutput.Role) -> [Double]? { results.first { $0.output.role == role }?.values }
        let terms = values(.terms).map {
            SequenceEvidence($0, expansions: values(.expansions), sizes: values(.sizes), sequences: plan.sequenceCount)
        }
        add(0, total, terms)
        for (index, result) in results.enumerated()
        where result.output.shape == .latentSequence && result.output.role == nil && result.output.higherIsBetter {
            let evidence = SequenceEvidence(
                result.values, expansions: nil, sizes: nil, sequences: plan.sequenceCount)
            add(index, evidence.scores(weights: ones), evidence)
            if let truth = results.first(where: { $0.output.role == .terms }) {
                addFooting(compared.label, result, truth)
            }
        }
        return rankings
    }

    /// Whether some pair was not asked, or stands for others; nil for a scorer that does not say.
    private static func wasDrawn(_ results: [(output: ScorerOutput, values: [Double])]) -> Bool? {
        func values(_ role: ScorerOutput.Role) -> [Double]? { results.first { $0.output.role == role }?.values }
        guard let expansions = values(.expansions), let sizes = values(.sizes) else { return nil }
        // A pair of size 0 has no effect for sure, and is not asked. The quotient of a pair that was is 1 but for roundings.
        return zip(expansions, sizes).contains { $1 > 0 && abs($0 - 1) > 1e-9 }
    }

    private func addFooting(
        _ label: String, _ estimate: (output: ScorerOutput, values: [Double]),
        _ truth: (output: ScorerOutput, values: [Double])
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

    // MARK: The record

    /// All numbers; `curves` holds the points of every method that has them, by name. Calls `progress` after each draw.
    ///
    /// - Throws: what scorers throw whose states are merged; what `progress` throws.
    public func record(
        curves: [String: CurvePoints], counts: [Int], progress: () throws -> Void = {}
    ) throws -> ComparisonRecord {
        var record = ComparisonRecord()
        record.candidates = pass.fired.latentCount
        record.sequences = pass.fired.sequenceCount
        record.length = pass.fired.length
        record.scored_tokens = pass.fired.scoredTokens.reduce(0, +)
        record.aggregate = settings.aggregate.description
        record.tau = settings.tau
        record.draws = settings.draws
        record.footings = footings
        record.failures = failures
        record.shared_seconds = pass.sharedSeconds
        let drawn = try redrawn(progress)
        let frequency = pass.fired.frequency
        record.methods = try rankings.enumerated().map { i, ranking in
            var method = ComparisonRecord.Method()
            method.name = ranking.name
            method.meaning = ranking.meaning
            method.scores = ranking.scores
            method.cores = Self.fractions.map {
                ComparisonRecord.Core(tau: $0, latents: core(ranking.scores, $0))
            }
            let own = core(ranking.scores, settings.tau)
            method.core_frequency = Self.frequency(own.map { frequency[$0] })
            method.halves = try halves(ranking)
            method.sensitivity = sensitivity(ranking)
            method.cost = ranking.scorer?.cost
            if let errors = ranking.standardErrors, !own.isEmpty {
                let known = own.filter { errors[$0].isFinite }
                let size = known.reduce(0) { $0 + ranking.scores[$1] }
                method.relative_standard_error = size > 0 ? known.reduce(0) { $0 + errors[$1] } / size : nil
            }
            method.was_drawn = ranking.wasDrawn
            method.faithfulness = curves[ranking.name].map { faithfulness(ranking.name, $0, counts, curves) }
            try progress()
            return method
        }
        for i in rankings.indices {
            for j in rankings.indices.dropFirst(i + 1) { record.pairs.append(pair(i, j, drawn)) }
        }
        return record
    }

    private func core(_ scores: [Double], _ fraction: Double) -> [Int] {
        (try? CoreSelection(scores, fraction: fraction).latents) ?? []
    }

    /// Jaccard of two cores; of two that are empty, since no score is above 0, there is nothing to tell.
    private func overlap(_ a: [Int], _ b: [Int]) -> Double {
        a.isEmpty && b.isEmpty ? .nan : jaccard(Set(a), Set(b))
    }

    private static func frequency(_ values: [Double]) -> ComparisonRecord.Frequency {
        guard !values.isEmpty else { return ComparisonRecord.Frequency() }
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return ComparisonRecord.Frequency(
            mean: values.reduce(0, +) / Double(values.count),
            median: sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2,
            dense: values.count { $0 > 0.1 })
    }

    /// Scores of every method of every draw; nil for methods of which a sequence says nothing.
    private func redrawn(_ progress: () throws -> Void) throws -> [[[Double]?]] {
        try (0..<settings.draws).map { draw in
            let weights = Resampling(
                sequences: pass.fired.sequenceCount, seed: settings.seed, purpose: .bootstrap, draw: draw
            ).withReplacement()
            try progress()
            return try rankings.map { try $0.evidence?.scores(weights: weights) }
        }
    }

    private func halves(_ ranking: Ranking) throws -> ComparisonRecord.Halves? {
        guard let evidence = ranking.evidence, pass.fired.sequenceCount >= 4 else { return nil }
        var (spearman, jaccards): ([Double], [Double]) = ([], [])
        for draw in 0..<max(1, settings.draws / 4) {
            let half = Resampling(
                sequences: pass.fired.sequenceCount, seed: settings.seed, purpose: .halves, draw: draw
            ).half()
            let a = try evidence.scores(weights: half), b = try evidence.scores(weights: half.map { 1 - $0 })
            spearman.append(spearmanCorrelation(a, b))
            jaccards.append(overlap(core(a, settings.tau), core(b, settings.tau)))
        }
        func mean(_ values: [Double]) -> Double {
            let known = values.filter { !$0.isNaN }
            return known.isEmpty ? .nan : known.reduce(0, +) / Double(known.count)
        }
        return ComparisonRecord.Halves(
            spearman: Interval(mean(spearman), draws: spearman), jaccard: Interval(mean(jaccards), draws: jaccards))
    }

    private static let alternatives: [(Aggregate, AggregateScope)] =
        [0.9, 0.95, 0.99, 0.999].map { (.quantile($0), .all) } + [
            (.mean, .all), (.mean, .active), (.rootMeanSquare, .all), (.maximum, .all), (.trimmedMean(0.01), .all),
        ]

    private func sensitivity(_ ranking: Ranking) -> [ComparisonRecord.Sensitivity] {
        guard let evidence = ranking.evidence as? TokenEvidence else { return [] }
        let own = core(ranking.scores, settings.tau)
        return Self.alternatives.map { aggregate, scope in
            let scores = evidence.scores(weights: ones, aggregate, scope)
            let other = core(scores, settings.tau)
            return ComparisonRecord.Sensitivity(
                aggregate: aggregate.description + (scope == .active ? " over active" : ""),
                spearman: spearmanCorrelation(ranking.scores, scores), core: other.count,
                jaccard: overlap(own, other))
        }
    }

    private func pair(_ i: Int, _ j: Int, _ drawn: [[[Double]?]]) -> ComparisonRecord.Pair {
        let (a, b) = (rankings[i], rankings[j])
        var result = ComparisonRecord.Pair()
        result.first = a.name
        result.second = b.name
        result.kendall = kendallCorrelation(a.scores, b.scores)
        let (orderA, orderB) = (a.order, b.order)
        result.overlaps = [10, 20, 50, 100, 200].filter { $0 <= a.scores.count / 2 }.map { n in
            let shared = Set(orderA.prefix(n)).intersection(orderB.prefix(n)).count
            return ComparisonRecord.Overlap(n: n, share: Double(shared) / Double(n))
        }
        func cores(_ x: [Double], _ y: [Double], _ tau: Double) -> Double { overlap(core(x, tau), core(y, tau)) }
        result.jaccards = Self.fractions.map { Measured(wrappedValue: cores(a.scores, b.scores, $0)) }
        let both = drawn.compactMap { draw in draw[i].flatMap { x in draw[j].map { (x, $0) } } }
        result.spearman = Interval(
            spearmanCorrelation(a.scores, b.scores), draws: both.map { spearmanCorrelation($0.0, $0.1) })
        result.jaccard = Interval(
            cores(a.scores, b.scores, settings.tau), draws: both.map { cores($0.0, $0.1, settings.tau) })
        return result
    }

    private func faithfulness(
        _ name: String, _ points: CurvePoints, _ counts: [Int], _ curves: [String: CurvePoints]
    ) -> ComparisonRecord.Faithfulness {
        let S = points.kept[0].sums.count
        let weights = (0..<settings.draws).map {
            Resampling(sequences: S, seed: settings.seed, purpose: .bootstrap, draw: $0).withReplacement()
        }
        let ones = [Int](repeating: 1, count: S)
        func interval(_ value: ([Int]) -> Double) -> Interval { Interval(value(ones), draws: weights.map(value)) }
        var over: [String: Interval] = [:]
        var lossesOver: [String: [Interval]] = [:]
        for (other, its) in curves where other != name {
            over[other] = interval { points.areas(counts, $0).removed - its.areas(counts, $0).removed }
            lossesOver[other] = counts.indices.map { n in
                interval { points.removed[n].mean($0) - its.removed[n].mean($0) }
            }
        }
        return ComparisonRecord.Faithfulness(
            counts: counts, kept: points.kept.map { losses in interval { losses.mean($0) } },
            removed: points.removed.map { losses in interval { losses.mean($0) } },
            kept_area: interval { points.areas(counts, $0).kept },
            removed_area: interval { points.areas(counts, $0).removed },
            removed_area_over: over, removed_over: lossesOver)
    }
}
