import Attribution
import LanguageModeling
import LinearAlgebra
import SparseCoding

/// What the gxa vectors were made with: a small Llama model, an SAE on the output of its block 1, 4 × 24 tokens.
///
/// Recorded gradients and losses are of the mean over the B(T − 1) = 92 predictions, ours are sums.
public struct GoldenSplice {
    /// The recorded vectors.
    public let golden: Golden
    public let model: any LanguageModel
    /// [4, 24] token ids.
    public let tokens: TokenBatch
    /// From sums to the recorded means.
    public let meanFactor = 1 / Float(4 * 23)

    /// Reads the vectors and the model.
    public init() throws {
        golden = try Golden("gxa/gxa.safetensors")
        model = try loadLanguageModel(path: fixture("models/llama"))
        tokens = TokenBatch(
            ids: try golden.file.integers("input_ids").map { Int32($0) }, sequenceCount: 4, length: 24)
    }

    /// The SAE, d = 48, F = 128.
    public func sae() throws -> SparseAutoencoder {
        let result = SparseAutoencoder(dIn: 48, layout: try PrefixLayout(groups: [8, 24, 32, 64]))
        result.encoder.assign(try golden.matrix("W_enc").transposed())
        result.encoderBias.assign(try golden.matrix("b_enc"))
        result.decoder.assign(try golden.matrix("W_dec"))
        result.decoderBias.assign(try golden.matrix("b_dec"))
        result.inference = .threshold(try golden.matrix("threshold")[0])
        return result
    }

    /// The tokens at the hook point; the first `keepFirst` positions of a sequence are not replaced.
    public func sample(keepFirst: Int = 0) throws -> SpliceSample {
        try SpliceSample(
            tokens, model: model, hook: .residPost(1),
            policy: SplicePolicy(keepFirst: keepFirst, specialTokens: [], sinkRatio: nil))
    }

    /// A pass of `scorer` with the first `prefix` latents spliced in.
    public func pass(
        _ scorer: any AttributionScorer, prefix: Int, errorTerm: Bool = false, budget: Int? = nil
    ) throws -> ScoringPass {
        var settings = ScoringSettings()
        settings.prefix = prefix
        settings.errorTerm = errorTerm
        let spliced = try SplicedModel(model: model, hook: .residPost(1), sae: try sae(), settings: settings)
        let sample = try sample()
        return ScoringPass(
            spliced, scorer: scorer, budget: EvaluationBudget(groups: budget),
            means: MeanActivations(spliced, sequences: 1, step: 1) { _ in sample })
    }

    /// Losses [B·T] without the last position of each sequence, which predicts nothing.
    public func withoutLast(_ losses: [Float]) -> [Float] {
        losses.indices.filter { $0 % 24 != 23 }.map { losses[$0] }
    }
}
