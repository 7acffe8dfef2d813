import LanguageModeling
import LinearAlgebra

/// Answers by running the model: from the edit on for losses, whole sequences for gradients.
///
/// What an edit leaves as it was is not computed again: a group costs T − (first changed token) positions, one that
/// changes nothing costs none, and all groups of a call share the products of their passes.
public final class SpliceEvaluator: SplicedEvaluation, @unchecked Sendable {
    let replay: SharedReplay
    let batch: ScoringBatch
    let budget: EvaluationBudget
    private let means: MeanActivations?
    private let changes: TokenLossChanges?

    /// An evaluator of `batch`, whose reconstruction is the one that `replay` runs suffixes of. What the loss becomes
    /// at each token is added to `changes`.
    init(
        _ replay: SharedReplay, batch: ScoringBatch, budget: EvaluationBudget = EvaluationBudget(),
        means: MeanActivations? = nil, changes: TokenLossChanges? = nil
    ) {
        self.replay = replay
        self.batch = batch
        self.budget = budget
        self.means = means
        self.changes = changes
    }

    var tokens: TokenBatch { replay.tokens }
    var length: Int { tokens.length }
    var dimension: Int { batch.reconstruction.columns }

    /// As many sequences as the model wants to see together.
    public var preferredGroups: Int { max(1, replay.model.preferredReplayTokens / length) }
    /// What the pass still has.
    public var remainingGroups: Int? { budget.remaining }

    public func checkpoint() -> () -> Void {
        let giveBack = budget.checkpoint()
        return { [self] in
            giveBack()
            changes?.forget(batch.sequences)
        }
    }

    public func meanActivations() throws -> MeanActivations.Values {
        guard let means else { throw AttributionError.passUnknown }
        return try means.values()
    }

    public func lossChanges(_ groups: [EditGroup]) throws -> [Double] {
        try batch.check(groups)
        try budget.spend(groups.count)
        var sums = [Double](repeating: 0, count: groups.count)
        var suffixes: [EditedSuffix] = []
        var rowCount = 0
        for (i, group) in groups.enumerated() {
            if let losses = group.losses {
                for t in 0..<length { losses[t] = batch.loss[group.sequence * length + t] }
            }
            guard let first = firstChange(group.edits) else {
                keep(group, from: 0, [])
                continue
            }
            let suffix = EditedSuffix(group: i, first: first - group.sequence * length, content(of: group, from: first))
            suffixes.append(suffix)
            rowCount += length - suffix.first
            guard rowCount >= (try replay.prepared()).preferredRows else { continue }
            try run(suffixes, of: groups, addingTo: &sums)
            suffixes.removeAll(keepingCapacity: true)
            rowCount = 0
        }
        try run(suffixes, of: groups, addingTo: &sums)
        return sums
    }

    /// What a group's edits make of its sequence.
    private struct EditedSuffix {
        let group: Int
        /// The first token that is another, counted in the sequence.
        let first: Int
        /// x̂ from there on.
        let content: EditedContent

        init(group: Int, first: Int, _ content: EditedContent) {
            (self.group, self.first, self.content) = (group, first, content)
        }

        /// As the model takes it, borrowing from this.
        func suffix(of groups: [EditGroup]) -> SequenceSuffix {
            let sequence = groups[group].sequence
            return switch content {
            case .rows(let rows): SequenceSuffix(sequence: sequence, first: first, residual: rows.elements)
            case .additions(let all): SequenceSuffix(sequence: sequence, first: first, additions: all)
            }
        }
    }

    /// Runs suffixes to their losses, all in one call, and adds Σ (loss after − loss before) of each
    /// to its group's sum.
    private func run(_ suffixes: [EditedSuffix], of groups: [EditGroup], addingTo sums: inout [Double]) throws {
        if suffixes.isEmpty { return }
        let rowCount = suffixes.reduce(0) { $0 + length - $1.first }
        let replay = try replay.prepared()
        budget.replayedTokens += rowCount
        var after = [Float](repeating: 0, count: rowCount)
        try after.withUnsafeMutableBufferPointer { after in
            try replay.losses(of: suffixes.map { $0.suffix(of: groups) }, into: after.baseAddress!)
        }
        extendLifetime(suffixes)
        var at = 0
        for suffix in suffixes {
            let (group, first, count) = (groups[suffix.group], suffix.first, length - suffix.first)
            let from = group.sequence * length + first
            let own = (0..<count).map { Double(after[at + $0]) - Double(batch.loss[from + $0]) }
            for t in 0..<count {
                sums[suffix.group] += own[t]
                group.losses?[first + t] = after[at + t]
            }
            keep(group, from: first, own)
            at += count
        }
    }

    private func keep(_ group: EditGroup, from first: Int, _ own: [Double]) {
        guard let changes, let latent = group.latent else { return }
        changes.add(latent: latent, sequence: batch.firstSequence + group.sequence, from: first, own)
    }
}
