import Attribution
import LanguageModeling
import LinearAlgebra
import SparseCoding

/// A pass over some sequences of a model, in an order of its own, as a host would make it one sequence a batch.
final class SequencePass {
    let plan: ScoringPlan
    private let model: QuadraticModel
    private let order: [Int]
    private lazy var means = model.means(of: order)

    /// All sequences of `model`, or those of `order`.
    init(_ model: QuadraticModel, order: [Int]? = nil) {
        self.model = model
        self.order = order ?? Array(0..<model.batch.sequenceOffsets.count - 1)
        var plan = model.plan
        plan.sequenceCount = self.order.count
        plan.tokenCount = self.order.count * model.length
        self.plan = plan
    }

    /// The batch at a place of the pass.
    func batch(_ place: Int) -> ScoringBatch {
        var one = model.batch.sequence(order[place])
        one.firstSequence = place
        one.firstToken = place * model.length
        one.evaluation = SequenceOf(model, order[place], means)
        return one
    }

    /// The plan with the passes that a scorer wants.
    func plan(_ score: any AccumulatingScore) throws -> ScoringPlan {
        var plan = plan
        plan.passCount = try score.passCount(plan)
        return plan
    }

    /// How many batches there are.
    var count: Int { order.count }
}

/// Questions about one sequence of a model, which is sequence 0 of its batch.
private final class SequenceOf: SplicedEvaluation {
    private let model: QuadraticModel
    private let sequence: Int
    private let means: MeanActivations.Values

    init(_ model: QuadraticModel, _ sequence: Int, _ means: MeanActivations.Values) {
        self.model = model
        self.sequence = sequence
        self.means = means
    }

    var preferredGroups: Int { model.preferredGroups }
    var remainingGroups: Int? { model.remainingGroups }

    func meanActivations() throws -> MeanActivations.Values { means }

    func lossChanges(_ groups: [EditGroup]) throws -> [Double] { try changes(groups, of: .loss) }

    /// The metric about the whole model's tokens.
    private func moved(_ metric: EvaluationMetric) -> EvaluationMetric {
        guard let weights = metric.weights else { return metric }
        let before = sequence * model.length, after = model.batch.codes.rows - before - weights.count
        return EvaluationMetric(
            metric.kind,
            weights: [Float](repeating: 0, count: before) + weights + [Float](repeating: 0, count: after))
    }

    func changes(_ groups: [EditGroup], of metric: EvaluationMetric) throws -> [Double] {
        // Judged as questions about the one sequence they know of, and only then moved to its place.
        try model.batch.sequence(sequence).check(groups)
        let shift = sequence * model.length
        return try model.changes(
            groups.map { group in
                var moved = group
                moved.sequence = sequence
                moved.edits = group.edits.map {
                    Edit(tokens: $0.tokens.lowerBound + shift..<$0.tokens.upperBound + shift, change: $0.change)
                }
                return moved
            }, of: moved(metric))
    }

    func headRows(_ tokens: [Int32]) throws -> Matrix { try model.headRows(tokens) }

    func finalScales() throws -> [Float] {
        Array(try model.finalScales()[sequence * model.length..<(sequence + 1) * model.length])
    }

    func gradients(at points: [GradientPoint]) throws -> [Double] {
        try gradients(at: points, of: .loss, rule: .plain)
    }

    func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
        try gradients(along: paths, alphas: alphas, weights: weights, of: .loss, rule: .plain)
    }

    func gradients(at points: [GradientPoint], of metric: EvaluationMetric, rule: BackwardRule) throws -> [Double] {
        for point in points { try model.batch.sequence(sequence).check(sequence: point.sequence, "point") }
        return try model.gradients(
            at: points.map { GradientPoint(sequence: sequence, rows: $0.rows, gradient: $0.gradient) },
            of: moved(metric),
            rule: rule)
    }

    func gradients(
        along paths: [GradientPath], alphas: [Double], weights: [Double], of metric: EvaluationMetric,
        rule: BackwardRule
    ) throws {
        try model.gradients(
            along: paths.map { GradientPath(sequence: sequence, base: $0.base, end: $0.end, gradient: $0.gradient) },
            alphas: alphas, weights: weights, of: moved(metric), rule: rule)
    }
}

extension PluginCheck.Subject {
    /// A fresh scorer's accumulation.
    func accumulation() throws -> any AccumulatingScore {
        try required(try plugin.scorer().accumulation, "it does not accumulate")
    }

    /// Bytes of a state for a pass.
    func stateSize(_ score: any AccumulatingScore, _ plan: ScoringPlan) throws -> Int {
        let size = try score.stateSize(plan)
        try expect(size <= 1 << 30, "it asks for a state of \(size) bytes for \(plan.sequenceCount) short sequences")
        return size
    }

    /// Every output of a pass in one process, twice finished, with a shard for each of `shards`, which are of places.
    func accumulated(_ pass: SequencePass, shards: [Range<Int>]? = nil, finishes: Int = 1) throws -> [[[Double]]] {
        let score = try accumulation()
        return try accumulated(pass, by: score, shards: shards ?? [0..<pass.count], finishes: finishes)
    }

    /// As above, by a scorer that is there.
    func accumulated(_ pass: SequencePass, by score: any AccumulatingScore, shards: [Range<Int>], finishes: Int = 1)
        throws
        -> [[[Double]]]
    {
        let size = try stateSize(score, pass.plan)
        let states = try (score.isSequential ? [0..<pass.count] : shards).map { shard in
            let state = State(size)
            try score.begin(pass.plan(score), state: state.bytes)
            try score.forEachPass(pass.plan) { plan in
                for s in shard { try score.accumulate(pass.batch(s), plan, state: state.bytes) }
            }
            return state
        }
        for other in states.dropFirst() {
            try score.merge(pass.plan(score), state: states[0].bytes, other: UnsafeRawBufferPointer(other.bytes))
        }
        return try (0..<finishes).map { _ in try score.results(pass.plan, states[0]) }
    }
}

extension AccumulatingScore {
    /// Calls `body` with the plan of every pass that it wants, one after the other.
    func forEachPass(_ plan: ScoringPlan, _ body: (ScoringPlan) throws -> Void) throws {
        var plan = plan
        plan.passCount = try passCount(plan)
        for pass in 0..<plan.passCount {
            plan.pass = pass
            try body(plan)
        }
    }
}
