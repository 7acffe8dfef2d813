import LanguageModeling
import LinearAlgebra
import SparseCoding

/// How many evaluations scorers may ask for in one pass, shared by its batches.
public final class EvaluationBudget: @unchecked Sendable {
    /// What there was at first; nil without a limit.
    public let groups: Int?
    /// What is left; nil without a limit.
    public private(set) var remaining: Int?

    /// Called with the number of evaluations so far, each time some more are begun.
    private let progress: ((Int) -> Void)?

    /// A budget of `groups` evaluations, or none to keep.
    public init(groups: Int? = nil, progress: ((Int) -> Void)? = nil) {
        self.groups = groups
        remaining = groups
        self.progress = progress
    }

    /// Evaluations so far.
    public private(set) var spent = 0
    /// Tokens that were run forward from an edit on, to the losses.
    public internal(set) var replayedTokens = 0
    /// Tokens that were run forward and back.
    public internal(set) var gradientTokens = 0

    /// Takes out what an earlier run of the same pass spent.
    func deduct(_ groups: Int) {
        remaining = remaining.map { max(0, $0 - groups) }
        spent += groups
    }

    /// A function that brings back what is the case now, for a call that is made again.
    func checkpoint() -> () -> Void {
        let (remaining, spent, replayed, gradient) = (remaining, spent, replayedTokens, gradientTokens)
        return { [self] in
            (self.remaining, self.spent, replayedTokens, gradientTokens) = (remaining, spent, replayed, gradient)
        }
    }

    /// Takes `groups` out of it.
    /// - Throws: `AttributionError.budgetExhausted`; then nothing was taken.
    func spend(_ groups: Int) throws {
        if let left = remaining {
            guard groups <= left else { throw AttributionError.budgetExhausted(asked: groups, remaining: left) }
            remaining = left - groups
        }
        spent += groups
        progress?(spent)
    }
}

/// A spliced batch that suffixes can be run again of, prepared when the first is asked for: a batch nobody asks about costs
/// nothing, and scorers that ask about the same batch share it.
final class SharedReplay: @unchecked Sendable {
    let model: any LanguageModel
    let tokens: TokenBatch
    let layer: Int
    private let residual: Matrix
    private var made: (any SuffixReplay)?

    init(model: any LanguageModel, tokens: TokenBatch, residual: Matrix, layer: Int) {
        self.model = model
        self.tokens = tokens
        self.residual = residual
        self.layer = layer
    }

    func prepared() throws -> any SuffixReplay {
        if let made { return made }
        let replay = try model.replay(of: tokens, residual: residual, afterLayer: layer)
        made = replay
        return replay
    }
}

/// Answers by running the model: from the edit on for losses, whole sequences for gradients.
///
/// What an edit leaves as it was is not computed again: a group costs T − (first changed token) positions, one that
/// changes nothing costs none, and all groups of a call share the products of their passes.
public final class SpliceEvaluator: SplicedEvaluation, @unchecked Sendable {
    private let replay: SharedReplay
    private let batch: ScoringBatch
    private let budget: EvaluationBudget
    private let means: MeanActivations?
    private let changes: TokenLossChanges?

    /// Sequences that gradients are computed for at once; enough for the products, little memory.
    private static let gradientSequences = 8

    /// An evaluator of `batch`, whose reconstruction is the one that `replay` runs suffixes of. What the loss becomes at each
    /// token is added to `changes`.
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

    private var tokens: TokenBatch { replay.tokens }
    private var length: Int { tokens.length }
    private var dimension: Int { batch.reconstruction.columns }

    /// Two passes' worth of sequences edited in the middle.
    public var preferredGroups: Int { max(1, 2048 * Lanes.shared.count / length) }
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
        var pending: [(group: Int, first: Int, rows: Matrix)] = []
        var rowCount = 0
        func flush() throws {
            if pending.isEmpty { return }
            let replay = try replay.prepared()
            budget.replayedTokens += rowCount
            var after = [Float](repeating: 0, count: rowCount)
            after.withUnsafeMutableBufferPointer { after in
                replay.losses(
                    of: pending.map {
                        SequenceSuffix(sequence: groups[$0.group].sequence, first: $0.first, residual: $0.rows.elements)
                    }, into: after.baseAddress!)
            }
            var at = 0
            for (i, first, rows) in pending {
                let from = groups[i].sequence * length + first
                let own = (0..<rows.rows).map { Double(after[at + $0]) - Double(batch.loss[from + $0]) }
                for t in 0..<rows.rows {
                    sums[i] += own[t]
                    groups[i].losses?[first + t] = after[at + t]
                }
                keep(groups[i], from: first, own)
                at += rows.rows
            }
            pending.removeAll(keepingCapacity: true)
            rowCount = 0
        }
        for (i, group) in groups.enumerated() {
            if let losses = group.losses {
                for t in 0..<length { losses[t] = batch.loss[group.sequence * length + t] }
            }
            guard let first = firstChange(group.edits) else {
                keep(group, from: 0, [])
                continue
            }
            let rows = edited(group, from: first)
            pending.append((i, first - group.sequence * length, rows))
            rowCount += rows.rows
            if rowCount >= (try replay.prepared()).preferredRows { try flush() }
        }
        try flush()
        return sums
    }

    private func keep(_ group: EditGroup, from first: Int, _ own: [Double]) {
        guard let changes, let latent = group.latent else { return }
        changes.add(latent: latent, sequence: batch.firstSequence + group.sequence, from: first, own)
    }

    public func gradients(at points: [GradientPoint]) throws -> [Double] {
        for point in points { try batch.check(sequence: point.sequence, "point") }
        try budget.spend(points.count)
        var losses: [Double] = []
        var start = 0
        while start < points.count {
            let some = points[start..<min(start + Self.gradientSequences, points.count)]
            let (loss, gradient) = try run(some.map { ($0.sequence, $0.rows) })
            for (i, point) in some.enumerated() {
                losses.append(loss[i])
                point.gradient.update(from: gradient.row(i * length), count: length * dimension)
            }
            start += some.count
        }
        return losses
    }

    public func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
        precondition(alphas.count == weights.count, "\(alphas.count) alphas, \(weights.count) weights")
        for path in paths { try batch.check(sequence: path.sequence, "path") }
        guard (alphas + weights).allSatisfy(\.isFinite) else {
            throw AttributionError.badEdit("a step of a path is not finite")
        }
        try budget.spend(paths.count * alphas.count)
        let count = length * dimension
        for path in paths { path.gradient.update(repeating: 0, count: count) }
        // Steps in order within a path: the sum has the same bits whoever else is asked about.
        let steps = paths.indices.flatMap { path in alphas.indices.map { (path, $0) } }
        let rows = Matrix(rows: Self.gradientSequences * length, columns: dimension)
        var start = 0
        while start < steps.count {
            let some = steps[start..<min(start + Self.gradientSequences, steps.count)]
            for (i, (path, step)) in some.enumerated() {
                let (base, end, r) = (paths[path].base, paths[path].end, rows.row(i * length))
                for c in 0..<count {
                    r[c] = Float(Double(base[c]) + alphas[step] * (Double(end[c]) - Double(base[c])))
                }
            }
            let (_, gradient) = try run(
                some.enumerated().map { (paths[$1.0].sequence, UnsafePointer(rows.row($0 * length))) })
            for (i, (path, step)) in some.enumerated() {
                let (sum, g) = (paths[path].gradient, gradient.row(i * length))
                for c in 0..<count { sum[c] += weights[step] * Double(g[c]) }
            }
            start += some.count
        }
        extendLifetime(rows)
    }

    /// Σ losses and gradients [n·T, d] of sequences whose scored rows are replaced; rows that are not scored are 0.
    private func run(_ spliced: [(sequence: Int, rows: UnsafePointer<Float>)]) throws -> ([Double], Matrix) {
        let (T, d) = (length, dimension)
        let residual = Matrix(rows: spliced.count * T, columns: d)
        var ids: [Int32] = []
        for (i, (sequence, rows)) in spliced.enumerated() {
            let from = sequence * T
            ids += tokens.ids[from..<from + T]
            for t in 0..<T {
                let source =
                    batch.scored[from + t] != 0 ? rows + t * d : UnsafePointer(batch.reconstruction.row(from + t))
                residual.row(i * T + t).update(from: source, count: d)
            }
        }
        let (losses, gradient) = try replay.model.lossesAndGradient(
            of: TokenBatch(ids: ids, sequenceCount: spliced.count, length: T), residual: residual,
            afterLayer: replay.layer)
        budget.gradientTokens += spliced.count * T
        for (i, (sequence, _)) in spliced.enumerated() {
            for t in 0..<T where batch.scored[sequence * T + t] == 0 {
                gradient.row(i * T + t).update(repeating: 0, count: d)
            }
        }
        let sums = spliced.indices.map { i in losses[i * T..<(i + 1) * T].reduce(0.0) { $0 + Double($1) } }
        return (sums, gradient)
    }

    /// f[t, j], nil where the latent is inactive.
    private func activation(_ t: Int, _ latent: Int) -> Float? {
        let codes = batch.codes
        var entries = codes.entries(ofRow: t)
        while !entries.isEmpty {
            let middle = entries.lowerBound + entries.count / 2
            let column = Int(codes.columnIndices[middle])
            if column == latent { return codes.values[middle] }
            entries = column < latent ? middle + 1..<entries.upperBound : entries.lowerBound..<middle
        }
        return nil
    }

    private func changes(_ edit: Edit, at t: Int) -> Bool {
        guard batch.scored[t] != 0 else { return false }
        return switch edit.change {
        case .scale(let latent, let factor): factor != 1 && activation(t, latent) != nil
        case .set(let latent, let value): value != activation(t, latent) ?? 0
        case .rows: true
        }
    }

    /// The first token, counted in the batch, that any of `edits` changes.
    private func firstChange(_ edits: [Edit]) -> Int? {
        edits.compactMap { edit in edit.tokens.first { changes(edit, at: $0) } }.min()
    }

    /// x̂ from token `first` to the end of the group's sequence with the edits made.
    private func edited(_ group: EditGroup, from first: Int) -> Matrix {
        let d = dimension
        let rows = batch.reconstruction.copy(rows: first..<(group.sequence + 1) * length)
        for edit in group.edits {
            for t in edit.tokens where changes(edit, at: t) {
                let row = rows.row(t - first)
                switch edit.change {
                case .rows(let source): row.update(from: source + (t - edit.tokens.lowerBound) * d, count: d)
                case .scale(let latent, let factor):
                    let a = activation(t, latent) ?? 0
                    add((factor - 1) * a, latent, to: row)
                case .set(let latent, let value): add(value - (activation(t, latent) ?? 0), latent, to: row)
                }
            }
        }
        return rows
    }

    private func add(_ change: Float, _ latent: Int, to row: UnsafeMutablePointer<Float>) {
        let w = batch.decoder.row(latent)
        for c in 0..<dimension { row[c] += change * w[c] }
    }
}
