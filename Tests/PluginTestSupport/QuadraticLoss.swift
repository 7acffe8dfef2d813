import Attribution
import LinearAlgebra

/// Answers about a batch whose loss is known in closed form: ½‖x̂_t − y_t‖² at each token, so that the gradient at r is r − y.
public final class QuadraticLoss: SplicedEvaluation, @unchecked Sendable {
    private let batch: ScoringBatch
    private let target: Matrix
    public let preferredGroups = 7
    public let remainingGroups: Int? = nil

    /// The distance of a batch's reconstruction to `target` [N, d].
    public init(_ batch: ScoringBatch, target: Matrix) {
        self.batch = batch
        self.target = target
    }

    /// The batch with these answers.
    public var asking: ScoringBatch {
        var batch = batch
        batch.evaluation = self
        return batch
    }

    private func tokens(_ sequence: Int) -> Range<Int> {
        Int(batch.sequenceOffsets[sequence])..<Int(batch.sequenceOffsets[sequence + 1])
    }

    /// Σ losses of a sequence with r [T, d] where a token is scored.
    private func loss(_ sequence: Int, _ rows: UnsafePointer<Float>) -> Double {
        let (tokens, d) = (tokens(sequence), target.columns)
        return tokens.reduce(0.0) { sum, t in
            let row =
                batch.scored[t] != 0
                ? rows + (t - tokens.lowerBound) * d : UnsafePointer(batch.reconstruction.row(t))
            return (0..<d).reduce(sum) {
                let difference = Double(row[$1]) - Double(target[t, $1])
                return $0 + 0.5 * difference * difference
            }
        }
    }

    public func lossChanges(_ groups: [EditGroup]) throws -> [Double] {
        try groups.map { group in
            let first = tokens(group.sequence).lowerBound
            guard group.edits.count == 1, case .rows(let rows) = group.edits[0].change else {
                throw AttributionError.badEdit("whole rows are all it knows")
            }
            return loss(group.sequence, rows) - loss(group.sequence, batch.reconstruction.row(first))
        }
    }

    public func gradients(at points: [GradientPoint]) throws -> [Double] {
        let d = target.columns
        return points.map { point in
            for (k, t) in tokens(point.sequence).enumerated() {
                for i in k * d..<(k + 1) * d {
                    point.gradient[i] = batch.scored[t] == 0 ? 0 : point.rows[i] - target[t, i - k * d]
                }
            }
            return loss(point.sequence, point.rows)
        }
    }

    public func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
        throw AttributionError.badEdit("it knows points, no paths")
    }

    public func meanActivations() throws -> MeanActivations.Values { throw AttributionError.passUnknown }
}

extension AccumulatingScore {
    /// Every output of a pass, or as many as it wants, over batches of sequences of `length` tokens that follow one another.
    public func outputs(over batches: [ScoringBatch], budget: Int? = nil) throws -> [String: [Double]] {
        let sequences = batches.reduce(0) { $0 + $1.sequenceOffsets.count - 1 }
        let tokens = batches.reduce(0) { $0 + $1.codes.rows }
        var plan = ScoringPlan(
            latentCount: batches[0].codes.columns, dimension: batches[0].decoder.columns, sequenceCount: sequences,
            tokenCount: tokens, coreCount: 0, errorTermAdded: false, evaluationBudget: budget)
        plan.passCount = try passCount(plan)
        let state = UnsafeMutableRawBufferPointer.allocate(byteCount: try stateSize(plan), alignment: 64)
        state.initializeMemory(as: UInt8.self, repeating: 0)
        defer { state.deallocate() }
        try begin(plan, state: state)
        for pass in 0..<plan.passCount {
            plan.pass = pass
            for batch in batches { try accumulate(batch, plan, state: state) }
        }
        plan.pass = plan.passCount
        let results = outputs.map { UnsafeMutableBufferPointer<Double>.allocate(capacity: $0.count(plan)) }
        defer { for result in results { result.deallocate() } }
        for result in results { result.initialize(repeating: .nan) }
        try finish(plan, state: UnsafeRawBufferPointer(state), into: results)
        return Dictionary(uniqueKeysWithValues: zip(outputs.map(\.name), results.map(Array.init)))
    }
}
