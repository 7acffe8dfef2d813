import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// SAEBench's core metrics of an SAE, made batch by batch; nothing of a batch stays but sums.
///
/// After `sae_bench/evals/core/main.py` of sae-bench 0.6.0. x̂ takes the place of x where the policy says so, and what is measured of x̂
/// and f is measured there. Losses and divergences are averaged over all tokens that are not special, whether or not they are
/// reconstructed and whatever comes next, as there. `SplicePolicy(keepFirst: 0, sinkRatio: nil)` has SAEBench's positions.
public final class CoreEvaluation {
    private let sae: SparseAutoencoder
    private let model: any LanguageModel
    private let hook: HookPoint
    private let policy: SplicePolicy
    private let encoder = SparseEncoder()
    private let codes = SparseCodes()
    private var sums: SequenceSums
    private var batches = BatchMeans()
    private var firings: LatentFirings
    private var positions = 0

    /// An evaluation of about `sequences` sequences.
    ///
    /// - Throws: `ResourceError.memory` where their sums do not fit.
    public init(
        _ sae: SparseAutoencoder, model: any LanguageModel, hook: HookPoint, policy: SplicePolicy, sequences: Int
    ) throws {
        var need = MemoryNeed(
            "evaluating \(sequences) sequences needs", advice: "lower --tokens, or raise --context")
        need.add("sums of each", 8, sequences, sae.dIn + TokenSum.allCases.count)
        try need.check()
        (self.sae, self.model, self.hook, self.policy) = (sae, model, hook, policy)
        sums = SequenceSums(dIn: sae.dIn)
        firings = LatentFirings(latents: sae.dSAE)
    }

    /// Runs the model on a batch, as it is, spliced and ablated.
    ///
    /// - Throws: what the model throws; an unset threshold.
    public func add(_ tokens: TokenBatch) throws {
        let sample = try SpliceSample(tokens, model: model, hook: hook, policy: policy)
        try encoder.encode(sample.residual, with: sae, into: codes)
        let reconstruction = sae.decode(codes)
        let answers = try answers(sample, reconstruction)
        let batch = BatchSums(sample, reconstruction)
        batches.add(batch)
        let targets = tokens.targets
        for sequence in 0..<tokens.sequenceCount {
            sums.addSequence()
            for t in sequence * tokens.length..<(sequence + 1) * tokens.length where !tokens.isPadding(t) {
                positions += 1
                if sample.replaced[t] != 0 { add(sample, reconstruction, t, batch) }
                if policy.specialTokens.contains(tokens.ids[t]) { continue }
                add(answers, t, hasTarget: targets[t] >= 0)
            }
        }
    }

    /// [N] losses and divergences of a batch.
    private struct Answers {
        let loss, splicedLoss, ablatedLoss, splicedDivergence, ablatedDivergence: [Float]
    }

    private func answers(_ sample: SpliceSample, _ reconstruction: Matrix) throws -> Answers {
        let (tokens, own) = (sample.tokens, sample.residual)
        let spliced = sample.spliced(reconstruction)
        let ablated = Matrix(rows: own.rows, columns: own.columns)
        func losses(_ x: Matrix) throws -> [Float] { try model.losses(of: tokens, residual: x, at: hook) }
        func divergences(_ x: Matrix) throws -> [Float] {
            try model.values(of: tokens, residual: x, at: hook, metric: .divergence(from: own))
        }
        return Answers(
            loss: try losses(own), splicedLoss: try losses(spliced), ablatedLoss: try losses(ablated),
            splicedDivergence: try divergences(spliced), ablatedDivergence: try divergences(ablated))
    }

    private func add(_ answers: Answers, _ t: Int, hasTarget: Bool) {
        sums.add(.divergenceTokens, 1)
        sums.add(.splicedDivergence, Double(answers.splicedDivergence[t]))
        sums.add(.ablatedDivergence, Double(answers.ablatedDivergence[t]))
        guard hasTarget else { return }
        sums.add(.lossTokens, 1)
        sums.add(.loss, Double(answers.loss[t]))
        sums.add(.splicedLoss, Double(answers.splicedLoss[t]))
        sums.add(.ablatedLoss, Double(answers.ablatedLoss[t]))
    }

    /// A token that is reconstructed.
    private func add(_ sample: SpliceSample, _ reconstruction: Matrix, _ t: Int, _ batch: BatchSums) {
        let token = batch.token(sample.residual.row(t), reconstruction.row(t))
        let norms = (x: token.square.squareRoot(), y: token.squareOut.squareRoot())
        sums.add(.tokens, 1)
        sums.add(input: sample.residual.row(t))
        sums.add(.error, token.error)
        sums.add(.square, token.square)
        sums.add(.squareOut, token.squareOut)
        sums.add(.product, token.product)
        sums.add(.legacy, 1 - token.error / token.spread)
        sums.add(.cosine, token.product / max(norms.x * norms.y, 1e-30))
        sums.add(.normIn, norms.x)
        sums.add(.normOut, norms.y)
        sums.add(.ratio, norms.y / (norms.x < 1e-4 ? 1 : norms.x))
        for e in codes.entries(ofRow: t) where codes.values[e] != 0 {
            sums.add(.active, 1)
            sums.add(.activation, Double(codes.values[e]))
            if Int(codes.columnIndices[e]) < sae.layout.coreCount { sums.add(.activeCore, 1) }
        }
        firings.add(codes, row: t, sequence: sums.count - 1)
    }

    /// What was found, with intervals from so many draws of sequences. `progress` is told of latents, 2·F in all.
    ///
    /// - Throws: `AttributionError.nothingScored`, `.noLoss`, `.measureUndefined`; what `progress` throws.
    public func findings(draws: Int, seed: UInt64, progress: (Int) throws -> Void = { _ in }) throws -> Findings {
        let total = sums.total()
        guard total[.tokens] > 0 else { throw AttributionError.nothingScored(tokens: positions) }
        guard total[.lossTokens] > 0 else { throw AttributionError.noLoss(tokens: positions) }
        let intervals = sums.intervals(draws: draws, seed: seed)
        for (name, interval) in intervals.sorted(by: { $0.key < $1.key })
        where !interval.value.isFinite && !Self.mayBeUndefined.contains(name) {
            throw AttributionError.measureUndefined(name: name, why: Self.reason(name))
        }
        let weights = try LatentWeights(sae, progress: progress)
        return Findings(
            metrics: CoreMetricCategories(
                intervals.mapValues(\.value), batches, firings, weights, positions: positions),
            features: CoreFeatureMetric.all(firings, weights),
            explained_variance_of_sae_bench_0_6: batches.explainedVarianceOfSAEBench(dIn: sae.dIn),
            intervals: intervals, sequences: sums.count, tokens: firings.tokens,
            density_histogram: DensityHistogram(firings.densities, coreCount: sae.layout.coreCount))
    }

    /// Of a batch of one token, and of an SAE that reconstructs nothing.
    private static let mayBeUndefined: Set = ["explained_variance_legacy", "relative_reconstruction_bias"]

    private static func reason(_ name: String) -> String {
        switch name {
        case "kl_div_score": "zeroing the residual stream does not change what the model predicts"
        case "ce_loss_score": "zeroing the residual stream does not change the loss"
        case "explained_variance": "all evaluated activations are the same"
        default: "the model's answer or a reconstruction is not made of numbers"
        }
    }

    /// What `findings` returns.
    public struct Findings: Sendable {
        public let metrics: CoreMetricCategories
        public let features: [CoreFeatureMetric]
        /// 1 − R / (S − (S/d)²) with R = E‖x − x̂‖², S = E‖x‖²: what sae-bench 0.6 calls explained_variance, about 1 − R/S.
        public let explained_variance_of_sae_bench_0_6: Double
        /// Metrics that are means over tokens, none of them hanging on how batches were cut.
        public let intervals: [String: Interval]
        public let sequences: Int
        /// Tokens that were reconstructed.
        public let tokens: Int
        public let density_histogram: DensityHistogram
    }
}
