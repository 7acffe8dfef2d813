import LinearAlgebra

/// What one step of a rule that learns needs besides its tensors, and what comes of it: floors, gradients, penalty.
final class LearnedGradients {
    let rule: any SparsityRuleLearning
    /// [1, F] pre-activations at and below which are not candidates.
    let floors: Matrix
    /// ∂(L + penalty)/∂tensor of the last step, [F] each.
    private(set) var tensors: [[Double]]
    /// The penalty of the last step.
    private(set) var penalty = 0.0
    /// Where each candidate is among the codes, and where each entry of those is among the codes by latent.
    private var places: [Int] = []
    private var placesByLatent: [Int] = []
    private var codeGradient: [Float] = []
    private var preactivationGradient: [Float] = []

    init(_ rule: any SparsityRuleLearning, latents: Int) {
        self.rule = rule
        floors = Matrix(rows: 1, columns: latents)
        tensors = rule.tensors.map { _ in [Double](repeating: 0, count: latents) }
    }

    /// Asks the rule for the floors of a step. Latents below `exempt` have none: they are no candidates.
    func updateFloors(_ context: SelectionContext, exempt: Int) throws {
        try rule.floors(context, into: UnsafeMutableBufferPointer(start: floors.elements, count: floors.count))
        for j in 0..<floors.count where !(floors[j] > 0) || j < exempt { floors[j] = 0 }
    }

    /// Gives where to write where each of `count` candidates went among the codes.
    func withPlaces(_ count: Int, _ body: (UnsafeMutablePointer<Int>?) -> Void) {
        if places.count < count { places = [Int](repeating: 0, count: count * 5 / 4) }
        places.withUnsafeMutableBufferPointer { body($0.baseAddress) }
    }

    /// Transposes the codes and notes where their entries go.
    func assemble(_ codes: SparseCodes, into live: LatentMajorCodes) {
        if placesByLatent.count < codes.count { placesByLatent = [Int](repeating: 0, count: codes.count * 5 / 4) }
        placesByLatent.withUnsafeMutableBufferPointer { live.assemble(codes, places: $0.baseAddress) }
    }

    /// Replaces ∂L/∂f of the candidates among `deltas`, those of the codes by latent, by ∂(L + penalty)/∂p.
    func backward(
        _ candidates: SparseCodes, _ selected: UnsafeBufferPointer<UInt8>, _ context: SelectionContext,
        deltas: UnsafeMutablePointer<Float>
    ) throws {
        let count = candidates.count
        if codeGradient.count < count {
            codeGradient = [Float](repeating: 0, count: count + count / 4)
            preactivationGradient = codeGradient
        }
        for e in 0..<count { places[e] = placesByLatent[places[e]] }
        for e in 0..<count { codeGradient[e] = deltas[places[e]] }
        for i in tensors.indices { for j in tensors[i].indices { tensors[i][j] = 0 } }
        penalty = try withBuffers(&tensors) { tensors in
            try codeGradient.withUnsafeBufferPointer { code in
                try preactivationGradient.withUnsafeMutableBufferPointer { preactivation in
                    try rule.backward(
                        candidates, selected: selected, codeGradient: UnsafeBufferPointer(rebasing: code[..<count]),
                        context,
                        preactivationGradient: UnsafeMutableBufferPointer(rebasing: preactivation[..<count]),
                        tensorGradients: tensors)
                }
            }
        }
        for e in 0..<count { deltas[places[e]] = preactivationGradient[e] }
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
