import LinearAlgebra

/// Where the candidates of a rule that learns are among the codes by token, and where those are among the codes by
/// latent: the way of their gradients, there and back.
final class CandidatePlaces {
    private var places: [Int] = []
    private var placesByLatent: [Int] = []
    private var codeGradient: [Float] = []

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

    /// Replaces ∂L/∂f of `count` candidates among `deltas`, those of the codes by latent, by what `body` makes of it.
    func replace(
        _ count: Int, in deltas: UnsafeMutablePointer<Float>,
        _ body: (UnsafeBufferPointer<Float>, (UnsafeBufferPointer<Float>) -> Void) throws -> Void
    ) throws {
        if codeGradient.count < count { codeGradient = [Float](repeating: 0, count: count + count / 4) }
        for e in 0..<count { places[e] = placesByLatent[places[e]] }
        for e in 0..<count { codeGradient[e] = deltas[places[e]] }
        try codeGradient.withUnsafeBufferPointer { code in
            try body(UnsafeBufferPointer(rebasing: code[..<count])) { replaced in
                for e in 0..<count { deltas[places[e]] = replaced[e] }
            }
        }
    }
}
