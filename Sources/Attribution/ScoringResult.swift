import LinearAlgebra
import TensorFiles

/// What a scorer said of the candidates of one SAE, and the core that follows from it.
public struct ScoringResult {
    /// A [m], one score for each candidate: all that was said of its tokens, aggregated.
    public let scores: [Double]
    /// At the τ asked for.
    public let core: CoreSelection
    /// Tokens that were scored.
    public let scoredTokens: Int
    /// The named outputs of a scorer that has them.
    public let outputs: [(output: ScorerOutput, values: [Double])]
    let sequenceCount: Int
    let length: Int
    /// [S·T, m] of a scorer of tokens, if they were kept.
    let everyToken: Matrix?
    /// [m·S, T − 1] of a scorer of totals, if they were kept.
    let lossChanges: Matrix?

    /// Writes scores [m], core (indices, falling score), each output and, if they were kept, numbers of tokens; `about`
    /// becomes the file's metadata.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public func write(to path: String, about: [String: String]) throws {
        var metadata = about
        for (output, _) in outputs {
            metadata["\(output.name).unit"] = output.unit
            metadata["\(output.name).higher_is_better"] = "\(output.higherIsBetter)"
        }
        var writer = SafetensorsWriter(metadata: metadata)
        writer.add("scores", scores.map(Float.init), shape: [scores.count])
        writer.add("core", integers: core.latents.map { Int64($0) })
        if let everyToken { writer.add("per_token", everyToken, shape: [sequenceCount, length, scores.count]) }
        for (output, values) in outputs {
            let shape = [scores.count] + output.shape.columns(scores.count, sequenceCount, length)
            writer.add(output.name, values.map(Float.init), shape: shape)
            if let lossChanges, output.role == .terms {
                writer.add(output.perTokenName, lossChanges, shape: [scores.count, sequenceCount, length - 1])
            }
        }
        try writer.write(to: path)
    }
}

extension ScorerOutput.Shape {
    /// Extents after the latents'.
    fileprivate func columns(_ latents: Int, _ sequences: Int, _ length: Int) -> [Int] {
        switch self {
        case .latent: []
        case .latentSequence: [sequences]
        case .latentPair: [latents]
        case .latentToken: [sequences * length]
        }
    }
}

extension ScorerOutput {
    /// The tensor of what the terms are made of token by token.
    public var perTokenName: String { name + "_per_token" }
}

extension ScoringPass {
    /// Bytes of a number for every candidate at each of `tokens` tokens.
    public func perTokenBytes(tokens: Int) -> Double {
        Double(tokens) * Double(candidateCount) * Double(MemoryLayout<Float>.stride)
    }
}
