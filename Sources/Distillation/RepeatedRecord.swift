import Attribution

/// The outcome of a run of several seeds; its `result.json`.
public struct RepeatedRecord: Codable, Sendable, Equatable {
    /// The seeds, in order.
    public var seeds: [Int]
    /// Of each seed, all that a run of one seed says of itself.
    public var runs: [DistillationRecord]
    /// Of each cycle, over seeds.
    public var cycles: [Cycle]
    /// Of each trial at each k, over seeds.
    public var trials: [Trial]

    /// A cycle over seeds.
    public struct Cycle: Codable, Sendable, Equatable {
        public var cycle: Int
        public var coreSize: Spread
        public var carriedOver: Spread
        /// nil in cycle 0.
        public var jaccard: Spread?
        public var explainedVariance: Spread
        public var l0_core: Spread
        public var ce_loss_score: Spread
    }

    /// A trial over seeds.
    public struct Trial: Codable, Sendable, Equatable {
        public var name: String
        public var k: Double
        public var explainedVariance: Spread
        public var l0: Spread
        public var l0_core: Spread
        public var ce_loss_score: Spread
        /// CE loss score less that of the trial that others of this k are held against, seed by seed; nil for that one.
        public var differences: [Double]?
        /// The 95% t interval of their mean; nil for fewer than three.
        public var interval: Interval?
    }

    /// Outcomes of seeds, of equally many cycles and trials each.
    public init(firstSeed: Int, _ runs: [DistillationRecord]) {
        (seeds, self.runs) = (runs.indices.map { firstSeed + $0 }, runs)
        cycles = (0..<(runs.map(\.cycles.count).min() ?? 0)).map { t in
            let all = runs.map { $0.cycles[t] }
            func spread(_ value: (EvaluationRecord) -> Double) -> Spread {
                Spread(all.map { value($0.sae.evaluation) })
            }
            let jaccard = all.compactMap(\.jaccard)
            return Cycle(
                cycle: t, coreSize: Spread(all.map { Double($0.coreSize) }),
                carriedOver: Spread(all.map { Double($0.carriedOver) }),
                jaccard: jaccard.isEmpty ? nil : Spread(jaccard),
                explainedVariance: spread(\.explained_variance), l0_core: spread(\.l0_core),
                ce_loss_score: spread(\.ce_loss_score))
        }
        let table = TrialTable(runs.map(\.trials))
        trials = table.rows.map { row in
            func spread(_ value: (EvaluationRecord) -> Double) -> Spread { row.spread { value($0.evaluation) } }
            return Trial(
                name: row.trial.name, k: row.trial.k, explainedVariance: spread(\.explained_variance), l0: spread(\.l0),
                l0_core: spread(\.l0_core), ce_loss_score: row.score, differences: table.differences(row),
                interval: table.difference(row).flatMap { $0.hasLimits ? $0 : nil })
        }
    }
}

/// A mean and a range.
public struct Spread: Codable, Sendable, Equatable {
    public let mean: Double
    public let low: Double
    public let high: Double

    public init(_ values: [Double]) {
        mean = values.reduce(0, +) / Double(max(1, values.count))
        (low, high) = (values.min() ?? 0, values.max() ?? 0)
    }

    /// "0.975", or of several seeds "0.975 (0.974 to 0.977)".
    public func text(_ places: Int, _ number: (Double, Int) -> String) -> String {
        let (mean, low, high) = (number(mean, places), number(low, places), number(high, places))
        return low == high ? mean : "\(mean) (\(low) to \(high))"
    }
}
