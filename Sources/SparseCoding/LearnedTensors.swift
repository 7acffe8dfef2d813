import Glibc
import LinearAlgebra

/// The tensors that a rule learns beside the SAE, and the moments of their gradients; none for a rule that learns nothing.
///
/// Updated by Adam with the SAE's moments' decay and its learning rate times each tensor's multiple, then clamped. They
/// are no part of the clip norm: it is there for the SAE's gradients, and a penalty's would drown them.
struct LearnedTensors {
    /// [1, F] each, in the rule's order.
    let values: [Matrix]
    /// m and v, [F] each, in the same order.
    private(set) var first: [[Double]]
    private(set) var second: [[Double]]

    init(_ rule: (any SparsityRuleLearning)?, latents: Int) {
        let tensors = rule?.tensors ?? []
        values = tensors.map {
            let matrix = Matrix(rows: 1, columns: latents)
            matrix.fill(Float($0.initial))
            return matrix
        }
        first = tensors.map { _ in [Double](repeating: 0, count: latents) }
        second = first
    }

    init(values: [Matrix], first: [[Double]], second: [[Double]]) {
        (self.values, self.first, self.second) = (values, first, second)
    }

    /// In memory of their own.
    func copy() -> LearnedTensors { LearnedTensors(values: values.map { $0.copy() }, first: first, second: second) }

    /// One step of Adam along `gradients` [F] of `tensors`, then the clamp.
    ///
    /// - Parameter time: t, 1 for the first update.
    mutating func update(
        _ tensors: [LearnableTensor], _ gradients: [[Double]], time: Int, learningRate: Double, plan: TrainingPlan
    ) {
        let t = Double(time)
        let correction = (1 - pow(plan.beta1, t), 1 - pow(plan.beta2, t))
        for (i, tensor) in tensors.enumerated() {
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
}
