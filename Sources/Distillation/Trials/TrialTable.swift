import Attribution
import TensorFiles

/// The trials of a run side by side: what each came to, over all seeds, and what it is better or worse by than the first with the
/// distilled core, seed by seed.
public struct TrialTable: Sendable {
    /// One trial at one k.
    public struct Row: Sendable {
        /// Of the first seed.
        public let trial: TrialPlan
        /// One a seed.
        public let saes: [SAERecord]

        /// Mean over seeds, and the least and the largest.
        public func spread(_ value: (SAERecord) -> Double) -> Spread { Spread(saes.map(value)) }

        /// CE loss score.
        public var score: Spread { spread { $0.evaluation.ce_loss_score } }

        /// What is frozen, in two words: "64 random"; "-" for no core.
        public var core: String {
            guard !trial.isPlain else { return "-" }
            let counts = Set(saes.map(\.frozenCore)).sorted().map(String.init)
            let isPath = ["run:", "file:", "pooled:"].first { trial.core.hasPrefix($0) }
            return counts.joined(separator: "/") + " " + (isPath.map { String($0.dropLast()) } ?? trial.core)
        }
    }

    /// Those of one k together.
    public let rows: [Row]
    /// How many seeds there are.
    public let seeds: Int

    /// Trials of each seed, the same for all.
    public init(_ records: [[TrialRecord]]) {
        seeds = records.count
        rows = (records.first ?? []).map { record in
            let (name, k) = (record.trial.name, record.trial.k)
            let same = records.compactMap { $0.first { $0.trial.name == name && $0.trial.k == k } }
            return Row(trial: record.trial, saes: same.map(\.sae))
        }
    }

    /// Every k, in the order of rows.
    public var ks: [Double] {
        rows.map(\.trial.k).reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    /// What others of this k are held against: the first trial with the distilled core, or the first of all.
    public func reference(at k: Double) -> Row? {
        let own = rows.filter { $0.trial.k == k }
        return own.first(where: \.trial.isDistilled) ?? own.first
    }

    /// CE loss score of a row less that of the reference at its k, paired by seed; nil for the reference itself.
    public func difference(_ row: Row) -> Interval? {
        differences(row).map { Interval(meanOf: $0) }
    }

    /// The same of each seed.
    func differences(_ row: Row) -> [Double]? {
        guard let reference = reference(at: row.trial.k), reference.trial != row.trial,
            reference.saes.count == row.saes.count
        else { return nil }
        return zip(row.saes, reference.saes).map { $0.evaluation.ce_loss_score - $1.evaluation.ce_loss_score }
    }

    /// Whether a value is not the same in all rows, so that a table must have it.
    public func differ(_ value: (TrialPlan) -> some Equatable) -> Bool {
        guard let first = rows.first else { return false }
        return rows.contains { value($0.trial) != value(first.trial) }
    }

    // MARK: In words

    /// What the trials say of the distilled core, a sentence for each k and each other trial: that it is better or worse only where an
    /// interval excludes 0.
    public func findings(_ number: (Double, Int) -> String = decimals) -> [String] {
        guard !rows.isEmpty else { return [] }
        let sentences = ks.flatMap { k -> [String] in
            guard let reference = reference(at: k) else { return [] }
            let others = rows.filter { $0.trial.k == k && $0.trial != reference.trial }
            return [opening(reference, number)] + others.map { sentence(reference, $0, number) }
        }
        guard rows.contains(where: { difference($0) != nil }) else { return sentences }
        return sentences + [basis]
    }

    private func opening(_ row: Row, _ number: (Double, Int) -> String) -> String {
        let core =
            row.trial.isPlain ? "" : "; \(spread(row, \.l0_core, 1, number)) of its \(row.core) latents fire on a token"
        return "At k = \(row.trial.k.recipeText), \(row.trial.name) has a CE loss score of "
            + "\(row.score.text(3, number))\(core)."
    }

    private func sentence(_ reference: Row, _ row: Row, _ number: (Double, Int) -> String) -> String {
        guard let difference = difference(row) else { return "" }
        let (a, b) = (reference.trial.name, row.trial.name)
        let has = "\(b) has \(row.score.text(3, number))"
        guard difference.hasLimits else {
            let sign = difference.value >= 0 ? "+" : ""
            return "\(has) (\(sign)\(number(difference.value, 3)))\(fires(row, number))."
        }
        func size(_ low: Double, _ value: Double, _ high: Double) -> String {
            "\(number(value, 4)) [\(number(low, 4)), \(number(high, 4))]"
        }
        let (low, value, high) = (difference.low, difference.value, difference.high)
        if difference.isBelowZero {
            return "\(a) is better than \(b) by \(size(-high, -value, -low)); \(has)\(fires(row, number))."
        }
        if difference.isAboveZero {
            return "\(a) is worse than \(b) by \(size(low, value, high)); \(has)\(fires(row, number))."
        }
        return "\(a) is not shown to be better or worse than \(b): \(has), a difference of \(size(low, value, high))"
            + "\(fires(row, number))."
    }

    private func fires(_ row: Row, _ number: (Double, Int) -> String) -> String {
        row.trial.isPlain ? "" : "; \(spread(row, \.l0_core, 1, number)) of its \(row.core) latents fire"
    }

    private func spread(
        _ row: Row, _ value: KeyPath<EvaluationRecord, Double>, _ places: Int, _ number: (Double, Int) -> String
    ) -> String { row.spread { $0.evaluation[keyPath: value] }.text(places, number) }

    private var basis: String {
        switch seeds {
        case 1:
            "That is one seed: without an interval no difference between trials is a finding; seeds: 3 in the recipe gives one."
        case 2: "These are two seeds: an interval takes three."
        default:
            "Brackets hold the 95% interval by Student's t over the differences of \(seeds) seeds, trial less trial of one seed."
        }
    }
}
