import Attribution

/// What explanations of an SAE's latents came to, set by set.
package struct AutointerpSummary: Codable, Sendable {
    /// A measure of a set: the plain mean over its latents, and the mean weighted by how often each fires.
    package struct Mean: Codable, Sendable, Equatable {
        package var set: String
        package var method: String
        package var measure: String
        /// Latents with a number.
        package var latents: Int
        /// 95% by Student's t over latents.
        package var mean: Interval
        /// Σ nv / Σ n, n the tokens at which a latent fires; 95% by the t of a ratio estimate over latents.
        package var frequency_weighted_mean: Interval
    }

    /// Of a set less one of its controls, by Welch's t over latents.
    package struct Difference: Codable, Sendable, Equatable {
        package var set: String
        package var control: String
        package var method: String
        package var measure: String
        package var mean: Interval
        package var frequency_weighted_mean: Interval
    }

    /// All answers of a set as of one latent, which is how Delphi sums up.
    package struct Pooled: Codable, Sendable, Equatable {
        package var set: String
        package var method: String
        package var counts: AnswerCounts
        package var measures: AnswerMeasures
    }

    /// One latent, without what was asked.
    package struct Latent: Codable, Sendable, Equatable {
        package var latent: Int
        package var firings: Int
        package var frequency: Double
        package var explanation: String?
        /// By method.
        package var scores: [String: AnswerMeasures]
    }

    /// Everything that the numbers depend on.
    package var settings: [String: String]
    package var sets: [LatentSet]
    package var means: [Mean]
    package var differences: [Difference]
    package var pooled: [Pooled]
    /// Rising.
    package var latents: [Latent]
    /// Of the core: those that fire in too few windows, and those that are silent in too few.
    package var rare: Int
    package var dense: Int
    package var usage: ChatUsage

    /// Sums up latents that were asked about; all of `sets` are among them.
    package init(
        _ explained: [Int: ExplainedLatent], sets: [LatentSet], methods: [ScoringMethod], settings: [String: String],
        rare: Int, dense: Int
    ) {
        (self.settings, self.sets, self.rare, self.dense) = (settings, sets, rare, dense)
        latents = explained.values.sorted { $0.latent < $1.latent }.map {
            Latent(
                latent: $0.latent, firings: $0.firings, frequency: $0.frequency, explanation: $0.explanation,
                scores: $0.scores.mapValues(\.measures))
        }
        usage = explained.values.reduce(ChatUsage()) { $0 + $1.usage }
        (means, differences, pooled) = ([], [], [])
        func weighted(_ set: LatentSet, _ method: ScoringMethod, _ path: KeyPath<AnswerMeasures, Double>) -> (
            plain: WeightedMean, weighted: WeightedMean
        ) {
            let members = set.latents.compactMap { explained[$0] }
            let values = members.map { $0.scores[method.rawValue]?.measures[keyPath: path] ?? .nan }
            return (
                WeightedMean(values, weights: values.map { _ in 1 }),
                WeightedMean(values, weights: members.map { Double($0.firings) })
            )
        }
        for set in sets {
            let control = set.control_of.flatMap { name in sets.first { $0.name == name } }
            for method in methods {
                for (name, path) in AnswerMeasures.summed {
                    let own = weighted(set, method, path)
                    means.append(
                        Mean(
                            set: set.name, method: method.rawValue, measure: name, latents: own.plain.count,
                            mean: own.plain.interval, frequency_weighted_mean: own.weighted.interval))
                    guard let control else { continue }
                    let other = weighted(control, method, path)
                    differences.append(
                        Difference(
                            set: control.name, control: set.name, method: method.rawValue, measure: name,
                            mean: other.plain.less(own.plain),
                            frequency_weighted_mean: other.weighted.less(own.weighted)
                        ))
                }
                let counts = set.latents.compactMap { explained[$0]?.scores[method.rawValue]?.counts }
                    .reduce(AnswerCounts(), +)
                pooled.append(
                    Pooled(set: set.name, method: method.rawValue, counts: counts, measures: counts.measures))
            }
        }
    }
}
