import Attribution
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TestSupport
import Testing

/// Gradient × activation on a small Llama model with the prefix reconstruction spliced in, against PyTorch.
///
/// Golden gradients are of the mean loss over B(T−1) = 92 positions, ours of the sum. Tolerances: 2e-5 of the largest
/// element forward, 1e-4 for gradients and scores (single precision through two blocks); index sets must be equal.
@Suite struct ScoringGoldenTests {
    private let splice: GoldenSplice
    private var golden: Golden { splice.golden }
    private var model: any LanguageModel { splice.model }
    private var tokens: TokenBatch { splice.tokens }
    private var meanFactor: Float { splice.meanFactor }

    init() throws { splice = try GoldenSplice() }

    private func dense(_ scores: ScoringPass.Scores, width: Int) -> [Float] {
        var result = [Float](repeating: 0, count: 96 * width)
        for r in 0..<96 {
            for e in scores.codes.entries(ofRow: r) {
                result[r * width + Int(scores.codes.columnIndices[e])] = abs(scores.values[e]) * meanFactor
            }
        }
        return result
    }

    @Test(arguments: [8, 32, 64, 128])
    func scoresQuantilesAndCoresMatchAtEveryPrefix(_ width: Int) throws {
        var settings = ScoringSettings()
        settings.prefix = width
        let sample = try splice.sample()
        try golden.check("x", sample.residual.values, tolerance: 2e-5)
        let pass = try ScoringPass(
            model: model, hook: .residPost(1), sae: try splice.sae(), scorer: NaiveGradientTimesActivation(),
            settings: settings)
        let scores = try pass.score(sample)
        let p = "p\(width)."
        try golden.check(p + "x_hat", scores.reconstruction.values, tolerance: 2e-5)
        try golden.check(p + "loss_per_token", splice.withoutLast(scores.loss), tolerance: 2e-5)
        try golden.check(p + "grad", scores.gradient.values.map { $0 * meanFactor }, tolerance: 1e-4)
        try golden.check(p + "score", dense(scores, width: width), tolerance: 1e-4)

        func aggregate(_ how: Aggregate) -> [Double] {
            let accumulator = ScoreAccumulator(latents: width, tokens: 96, aggregate: how)
            scores.values.withUnsafeBufferPointer { accumulator.add(scores.codes, $0, tokens: 96) }
            return accumulator.result()
        }
        let (q99, mean, max) = (aggregate(.standard), aggregate(.mean), aggregate(.maximum))
        let inMean = { (values: [Double]) in values.map { Float($0) * meanFactor } }
        try golden.check(p + "q99", inMean(q99), tolerance: 1e-4)
        try golden.check(p + "mean_score", inMean(mean), tolerance: 1e-4)
        try golden.check(p + "max_score", inMean(max), tolerance: 1e-4)
        for (name, values) in [("q99", q99), ("mean_score", mean)] {
            let core = try CoreSelection(values, fraction: 0.9)
            let expected = try golden.file.integers("f64.\(p)select.\(name)").map(Int.init)
            #expect(core.latents == expected, "\(name) at prefix \(width)")
            let coverage = try golden.number("\(p)select.\(name).coverage")
            #expect(abs(core.coverage - coverage) < 1e-4)
        }
    }

    @Test func aKeptFirstPositionIsNeitherReplacedNorScored() throws {
        var settings = ScoringSettings()
        settings.prefix = 32
        let pass = try ScoringPass(
            model: model, hook: .residPost(1), sae: try splice.sae(), scorer: NaiveGradientTimesActivation(),
            settings: settings)
        let scores = try pass.score(try splice.sample(keepFirst: 1))
        #expect(scores.scoredCount == 92)
        try golden.check("p32.keep0.loss_per_token", splice.withoutLast(scores.loss), tolerance: 2e-5)
        try golden.check("p32.keep0.grad", scores.gradient.values.map { $0 * meanFactor }, tolerance: 1e-4)
        let accumulator = ScoreAccumulator(latents: 32, tokens: 96)
        scores.values.withUnsafeBufferPointer { accumulator.add(scores.codes, $0, tokens: scores.scoredCount) }
        try golden.check("p32.keep0.q99", accumulator.result().map { Float($0) * meanFactor }, tolerance: 1e-4)
    }

    @Test func decoderRowsOfAnyNormScoreByTheirDirection() throws {
        // Rows times s and activations divided by s leave x̂ as it is and divide the score by s.
        let sae = try splice.sae()
        let scale = try golden.matrix("nonunit.W_dec_scale")
        let thresholds = Matrix(rows: 1, columns: 128)
        for j in 0..<128 {
            let s = scale[j]
            for c in 0..<48 {
                sae.decoder[j, c] *= s
                sae.encoder[j, c] /= s
            }
            sae.encoderBias[j] /= s
            thresholds[j] = try golden.matrix("threshold")[0] / s
        }
        sae.inference = .thresholds(thresholds.values)
        var settings = ScoringSettings()
        settings.prefix = 32
        let pass = try ScoringPass(
            model: model, hook: .residPost(1), sae: sae, scorer: NaiveGradientTimesActivation(), settings: settings)
        try golden.check("p32.nonunit.score", dense(try pass.score(try splice.sample()), width: 32), tolerance: 1e-4)
    }

    @Test func scoresSumToTheReconstructionsInnerProduct() throws {
        // ⟨g, x̂ − b_dec⟩ = Σ_j f_j ⟨g, W_dec,j⟩ on every token.
        let sae = try splice.sae()
        let pass = try ScoringPass(model: model, hook: .residPost(1), sae: sae, scorer: NaiveGradientTimesActivation())
        let scores = try pass.score(try splice.sample())
        for r in 0..<96 {
            var (left, size) = (0.0, 0.0)
            for c in 0..<48 {
                let term =
                    Double(scores.gradient[r, c])
                    * (Double(scores.reconstruction[r, c]) - Double(sae.decoderBias[c]))
                left += term
                size += abs(term)
            }
            var right = 0.0
            for e in scores.codes.entries(ofRow: r) {
                let row = sae.decoder.row(Int(scores.codes.columnIndices[e]))
                let norm = (0..<48).reduce(0.0) { $0 + Double(row[$1]) * Double(row[$1]) }.squareRoot()
                right -= Double(scores.values[e]) * norm
            }
            // x̂ is rounded to single precision: 1e-6 of the terms' size.
            #expect(size.isFinite && abs(left - right) <= 4e-6 * size + 1e-9, "token \(r)")
        }
    }
}
