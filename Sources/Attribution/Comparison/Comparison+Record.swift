// All that a comparison came to, as numbers.
extension Comparison {
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
        record.methods = try rankings.map { ranking in
            var method = try method(ranking, frequency)
            method.faithfulness = curves[ranking.name].map { faithfulness(ranking.name, $0, counts, curves) }
            try progress()
            return method
        }
        for i in rankings.indices {
            for j in rankings.indices.dropFirst(i + 1) { record.pairs.append(try pair(i, j, drawn)) }
        }
        return record
    }

    /// A ranking by itself; `frequency` [m] is how often each latent fires.
    private func method(_ ranking: Ranking, _ frequency: [Double]) throws -> ComparisonRecord.Method {
        var method = ComparisonRecord.Method()
        method.name = ranking.name
        method.meaning = ranking.meaning
        method.scores = ranking.scores
        method.cores = try Self.fractions.map { ComparisonRecord.Core(tau: $0, latents: try core(ranking.scores, $0)) }
        let own = try core(ranking.scores, settings.tau)
        method.core_frequency = Self.frequency(own.map { frequency[$0] })
        method.halves = try halves(ranking)
        method.sensitivity = try sensitivity(ranking)
        method.cost = ranking.scorer?.cost
        if let errors = ranking.standardErrors, !own.isEmpty {
            let known = own.filter { errors[$0].isFinite }
            let size = known.reduce(0) { $0 + ranking.scores[$1] }
            method.relative_standard_error = size > 0 ? known.reduce(0) { $0 + errors[$1] } / size : nil
        }
        method.was_drawn = ranking.wasDrawn
        return method
    }

    /// The core of some scores; empty if none is above 0, as in a half or under another aggregate.
    private func core(_ scores: [Double], _ fraction: Double) throws -> [Int] {
        do {
            return try CoreSelection(scores, fraction: fraction).latents
        } catch AttributionError.noAttribution {
            return []
        }
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
            jaccards.append(overlap(try core(a, settings.tau), try core(b, settings.tau)))
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

    private func sensitivity(_ ranking: Ranking) throws -> [ComparisonRecord.Sensitivity] {
        guard let evidence = ranking.evidence as? TokenEvidence else { return [] }
        let own = try core(ranking.scores, settings.tau)
        return try Self.alternatives.map { aggregate, scope in
            let scores = evidence.scores(weights: ones, aggregate, scope)
            let other = try core(scores, settings.tau)
            return ComparisonRecord.Sensitivity(
                aggregate: aggregate.description + (scope == .active ? " over active" : ""),
                spearman: spearmanCorrelation(ranking.scores, scores), core: other.count,
                jaccard: overlap(own, other))
        }
    }

    private func pair(_ i: Int, _ j: Int, _ drawn: [[[Double]?]]) throws -> ComparisonRecord.Pair {
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
        func cores(_ x: [Double], _ y: [Double], _ tau: Double) throws -> Double {
            overlap(try core(x, tau), try core(y, tau))
        }
        result.jaccards = try Self.fractions.map { Measured(wrappedValue: try cores(a.scores, b.scores, $0)) }
        let both = drawn.compactMap { draw in draw[i].flatMap { x in draw[j].map { (x, $0) } } }
        result.spearman = Interval(
            spearmanCorrelation(a.scores, b.scores), draws: both.map { spearmanCorrelation($0.0, $0.1) })
        result.jaccard = Interval(
            try cores(a.scores, b.scores, settings.tau), draws: try both.map { try cores($0.0, $0.1, settings.tau) })
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
