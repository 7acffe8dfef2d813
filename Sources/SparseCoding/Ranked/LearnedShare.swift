import LinearAlgebra

/// What a step needs of a rule that learns on each of several ranks: rank 0 alone has the rule and its tensors, and is brought what
/// it asks about the latents of all.
final class LearnedShare: StepLearning {
    let floors: Matrix
    private let peers: LatentPeers
    /// On rank 0.
    private let whole: (any StepLearning)?

    init(_ whole: (any StepLearning)?, among peers: LatentPeers) {
        (self.whole, self.peers) = (whole, peers)
        floors = Matrix(rows: 1, columns: peers.cut.places.count)
    }

    func updateFloors(_ context: SelectionContext, exempt: Int) throws {
        try whole?.updateFloors(context, exempt: context.coreIsExempt ? context.core.count : 0)
        try peers.deal(whole?.floors, into: floors)
    }

    func backward(
        _ candidates: SparseCodes, _ selected: UnsafeBufferPointer<UInt8>, _ context: SelectionContext,
        codeGradient: UnsafeBufferPointer<Float>, _ body: (UnsafeBufferPointer<Float>) throws -> Void
    ) throws {
        let replaced = try peers.exchange(codeGradient) { candidates, flags, gradients in
            let code = gradients
            try code.withUnsafeBufferPointer { code in
                try flags.withUnsafeBufferPointer { flags in
                    try whole!.backward(candidates, flags, context, codeGradient: code) { gradients = Array($0) }
                }
            }
        }
        try replaced.withUnsafeBufferPointer(body)
    }
}
