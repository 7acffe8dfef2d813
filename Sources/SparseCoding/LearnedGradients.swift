import LinearAlgebra

/// What a step needs of a rule that learns, about the latents that it computes with.
package protocol StepLearning: AnyObject {
    /// [1, F] pre-activations at and below which are not candidates.
    var floors: Matrix { get }

    /// Asks the rule for the floors of a step. Latents below `exempt` have none: they are no candidates.
    func updateFloors(_ context: SelectionContext, exempt: Int) throws

    /// ∂(L + penalty)/∂p of the candidates from their ∂L/∂f, given to `body`.
    func backward(
        _ candidates: SparseCodes, _ selected: UnsafeBufferPointer<UInt8>, _ context: SelectionContext,
        codeGradient: UnsafeBufferPointer<Float>, _ body: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws
}

/// What one step of a rule that learns needs besides its tensors, and what comes of it: floors, gradients, penalty.
package final class LearnedGradients: StepLearning {
    package let rule: any SparsityRuleLearning
    package let floors: Matrix
    /// ∂(L + penalty)/∂tensor of the last step, [F] each.
    private(set) var tensors: [[Double]]
    /// The penalty of the last step.
    private(set) var penalty = 0.0
    private var preactivationGradient: [Float] = []

    init(_ rule: any SparsityRuleLearning, latents: Int) {
        self.rule = rule
        floors = Matrix(rows: 1, columns: latents)
        tensors = rule.tensors.map { _ in [Double](repeating: 0, count: latents) }
    }

    package func updateFloors(_ context: SelectionContext, exempt: Int) throws {
        try rule.floors(context, into: UnsafeMutableBufferPointer(start: floors.elements, count: floors.count))
        for j in 0..<floors.count where !(floors[j] > 0) || j < exempt { floors[j] = 0 }
    }

    /// Keeps the tensors' gradients and the penalty.
    package func backward(
        _ candidates: SparseCodes, _ selected: UnsafeBufferPointer<UInt8>, _ context: SelectionContext,
        codeGradient: UnsafeBufferPointer<Float>, _ body: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        let count = candidates.count
        if preactivationGradient.count < count {
            preactivationGradient = [Float](repeating: 0, count: count + count / 4)
        }
        for i in tensors.indices { for j in tensors[i].indices { tensors[i][j] = 0 } }
        try preactivationGradient.withUnsafeMutableBufferPointer { all in
            let preactivation = UnsafeMutableBufferPointer(rebasing: all[..<count])
            penalty = try withBuffers(&tensors) { tensors in
                try rule.backward(
                    candidates, selected: selected, codeGradient: codeGradient, context,
                    preactivationGradient: preactivation, tensorGradients: tensors)
            }
            try body(UnsafeBufferPointer(preactivation))
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
