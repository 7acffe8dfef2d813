import Glibc
import LinearAlgebra

/// The tensors that a rule learns beside the SAE, with their optimiser state and what one step needs of them.
///
/// Updated by Adam with the SAE's moments' decay and its learning rate times each tensor's multiple, then clamped. They
/// are no part of the clip norm: it is there for the SAE's gradients, and a penalty's would drown them.
final class LearnedTensors {
    let rule: any SparsityRuleLearning
    /// [1, F] each, in the rule's order.
    let values: [Matrix]
    /// [1, F] pre-activations at and below which are not candidates.
    let floors: Matrix
    /// The penalty of the last step.
    private(set) var penalty = 0.0
    private var gradients: [[Double]]
    private var first: [[Double]]
    private var second: [[Double]]
    private var stepCount = 0
    private var codeGradient: [Float] = []
    private var preactivationGradient: [Float] = []

    init(_ rule: any SparsityRuleLearning, latents: Int) {
        self.rule = rule
        values = rule.tensors.map {
            let matrix = Matrix(rows: 1, columns: latents)
            matrix.fill(Float($0.initial))
            return matrix
        }
        floors = Matrix(rows: 1, columns: latents)
        gradients = values.map { _ in [Double](repeating: 0, count: latents) }
        first = gradients
        second = gradients
    }

    /// Asks the rule for the floors of a step.
    func updateFloors(_ context: SelectionContext) throws {
        try rule.floors(context, into: UnsafeMutableBufferPointer(start: floors.elements, count: floors.count))
    }

    /// Replaces ∂L/∂f of the candidates among `deltas` by ∂(L + penalty)/∂p; candidate e is entry `places[e]`.
    func backward(
        _ candidates: SparseCodes, _ selected: UnsafeBufferPointer<UInt8>, places: [Int], _ context: SelectionContext,
        deltas: UnsafeMutablePointer<Float>
    ) throws {
        let count = candidates.count
        if codeGradient.count < count {
            codeGradient = [Float](repeating: 0, count: count + count / 4)
            preactivationGradient = codeGradient
        }
        for e in 0..<count { codeGradient[e] = deltas[places[e]] }
        for i in gradients.indices { for j in gradients[i].indices { gradients[i][j] = 0 } }
        penalty = try withBuffers(&gradients) { gradients in
            try codeGradient.withUnsafeBufferPointer { code in
                try preactivationGradient.withUnsafeMutableBufferPointer { preactivation in
                    try rule.backward(
                        candidates, selected: selected, codeGradient: UnsafeBufferPointer(rebasing: code[..<count]),
                        context,
                        preactivationGradient: UnsafeMutableBufferPointer(rebasing: preactivation[..<count]),
                        tensorGradients: gradients)
                }
            }
        }
        for e in 0..<count { deltas[places[e]] = preactivationGradient[e] }
    }

    /// One step of Adam, then the clamp.
    func update(learningRate: Double, plan: TrainingPlan) {
        stepCount += 1
        let t = Double(stepCount)
        let correction = (1 - pow(plan.beta1, t), 1 - pow(plan.beta2, t))
        for (i, tensor) in rule.tensors.enumerated() {
            let rate = learningRate * tensor.learningRateMultiple
            for j in 0..<values[i].count {
                let g = gradients[i][j]
                first[i][j] = plan.beta1 * first[i][j] + (1 - plan.beta1) * g
                second[i][j] = plan.beta2 * second[i][j] + (1 - plan.beta2) * g * g
                let step = first[i][j] / correction.0 / ((second[i][j] / correction.1).squareRoot() + plan.epsilon)
                values[i][j] = Float(min(max(Double(values[i][j]) - rate * step, tensor.minimum), tensor.maximum))
            }
        }
    }

    /// Gives every array as a buffer at once.
    private func withBuffers<Result>(
        _ arrays: inout [[Double]], _ body: ([UnsafeMutableBufferPointer<Double>]) throws -> Result
    ) rethrows -> Result {
        let buffers = arrays.map { array in
            let buffer = UnsafeMutableBufferPointer<Double>.allocate(capacity: array.count)
            _ = buffer.initialize(from: array)
            return buffer
        }
        defer { for buffer in buffers { buffer.deallocate() } }
        let result = try body(buffers)
        for i in arrays.indices { arrays[i] = Array(buffers[i]) }
        return result
    }
}
