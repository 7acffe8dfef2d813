import Kernels
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// How well an SAE stands in for the residual stream, under SAEBench's names (arXiv:2503.09532); losses in nats.
public struct EvaluationRecord: Codable, Sendable, Equatable {
    /// Tokens whose activation was replaced and measured.
    public var tokens: Int
    /// Mean loss of the model itself.
    public var ce_loss_without_sae: Double
    /// Mean loss with x̂ in the place of x.
    public var ce_loss_with_sae: Double
    /// Mean loss with the whole hook output zeroed.
    public var ce_loss_with_ablation: Double
    /// (ablation − sae) / (ablation − without).
    public var ce_loss_score: Double
    /// 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ the mean over all evaluated tokens.
    public var explained_variance: Double
    /// mean_t [1 − ‖x_t − x̂_t‖² / ‖x_t − x̄_batch‖²]: SAEBench's older figure; nil where a batch has one token.
    public var explained_variance_legacy: Double?
    /// Mean number of f > 0.
    public var l0: Double
    /// Of those, in the core.
    public var l0_core: Double
    /// Of those, outside it.
    public var l0_non_core: Double
    /// Mean cosine of x and x̂.
    public var cossim: Double
    /// Mean ‖x̂‖ / ‖x‖.
    public var l2_ratio: Double
    /// E‖x̂‖² / E⟨x, x̂⟩; nil where nothing is reconstructed.
    public var relative_reconstruction_bias: Double?
    /// Fraction of latents that fired at least once here.
    public var frac_alive: Double
    /// How often core latents fire, and on what; nil without a core.
    public var firing_core: FiringRecord?
    /// Of the others.
    public var firing_non_core: FiringRecord?
}

/// Sequences to evaluate on, with the losses that do not depend on an SAE.
public struct EvaluationSet: Sendable {
    public let samples: [SpliceSample]
    /// Mean loss of the model itself.
    public let originalLoss: Double
    /// Mean loss with the hook output zeroed everywhere, first positions included.
    public let ablatedLoss: Double
    private let averaged: [[UInt8]]
    private let model: any LanguageModel
    private let hook: HookPoint

    /// Runs the model on the samples, as it is and ablated.
    ///
    /// - Throws: what the model throws; `AttributionError.nothingScored`, `.noLoss`, `.nothingReached` where there
    ///   is nothing to average.
    public init(
        _ samples: [SpliceSample], model: any LanguageModel, hook: HookPoint, policy: SplicePolicy,
        progress: (Int) throws -> Void = { _ in }
    ) throws {
        let tokens = samples.reduce(0) { $0 + $1.tokenCount }
        guard samples.contains(where: { $0.replacedCount > 0 }) else {
            throw AttributionError.nothingScored(tokens: tokens)
        }
        self.samples = samples
        self.model = model
        self.hook = hook
        averaged = samples.map { policy.averaged($0.tokens) }
        guard averaged.contains(where: { $0.contains(1) }) else { throw AttributionError.noLoss(tokens: tokens) }
        // Attention looks back: what is rebuilt after the last loss of its sequence changes none.
        guard zip(samples, averaged).contains(where: { $0.reaches(losses: $1) }) else {
            throw AttributionError.nothingReached(tokens: tokens)
        }
        var original = MeanLoss()
        var ablated = MeanLoss()
        for (sample, mask) in zip(samples, averaged) {
            original.add(
                try model.losses(of: sample.tokens, residual: sample.residual, at: hook), mask)
            let zero = Matrix(rows: sample.residual.rows, columns: sample.residual.columns)
            ablated.add(try model.losses(of: sample.tokens, residual: zero, at: hook), mask)
            try progress(sample.tokenCount)
        }
        originalLoss = original.mean
        ablatedLoss = ablated.mean
    }

    /// Evaluates an SAE; sums are in Double.
    ///
    /// - Throws: what the model throws; an unset threshold; `AttributionError.measureUndefined`.
    public func evaluate(_ sae: SparseAutoencoder, progress: (Int) throws -> Void = { _ in }) throws -> EvaluationRecord
    {
        var spliced = MeanLoss()
        var sums = ReconstructionSums(
            dIn: sae.dIn, dSAE: sae.dSAE, core: sae.layout.coreCount,
            tokens: samples.reduce(0) { $0 + $1.replacedCount })
        let mean = Self.mean(samples, dIn: sae.dIn)
        let encoder = SparseEncoder()
        let codes = SparseCodes()
        for (sample, mask) in zip(samples, averaged) {
            try encoder.encode(sample.residual, with: sae, into: codes)
            let reconstruction = sae.decode(codes)
            spliced.add(
                try model.losses(
                    of: sample.tokens, residual: sample.spliced(reconstruction), at: hook), mask)
            sums.add(sample, reconstruction, codes, mean: mean)
            try progress(sample.tokenCount)
        }
        var record = sums.record
        record.ce_loss_without_sae = originalLoss
        record.ce_loss_with_sae = spliced.mean
        record.ce_loss_with_ablation = ablatedLoss
        record.ce_loss_score = (ablatedLoss - spliced.mean) / (ablatedLoss - originalLoss)
        try Self.requireNumbers(record)
        return record
    }

    /// A number that is none would be read as a result.
    private static func requireNumbers(_ record: EvaluationRecord) throws {
        func require(_ name: String, _ value: Double, _ why: String) throws {
            guard value.isFinite else { throw AttributionError.measureUndefined(name: name, why: why) }
        }
        let loss = "the model's loss is not a number there"
        try require("ce_loss_without_sae", record.ce_loss_without_sae, loss)
        try require("ce_loss_with_sae", record.ce_loss_with_sae, loss)
        try require("ce_loss_with_ablation", record.ce_loss_with_ablation, loss)
        try require("ce_loss_score", record.ce_loss_score, "zeroing the residual stream does not change the loss")
        try require("explained_variance", record.explained_variance, "all evaluated activations are the same")
        try require("cossim", record.cossim, "a reconstruction is not made of numbers")
        try require("l2_ratio", record.l2_ratio, "a reconstruction is not made of numbers")
    }

    private static func mean(_ samples: [SpliceSample], dIn: Int) -> [Double] {
        var sum = [Double](repeating: 0, count: dIn)
        var count = 0.0
        for sample in samples {
            for r in 0..<sample.residual.rows where sample.replaced[r] != 0 {
                for c in 0..<dIn { sum[c] += Double(sample.residual[r, c]) }
                count += 1
            }
        }
        return sum.map { $0 / max(count, 1) }
    }
}

private struct MeanLoss {
    private var sum = 0.0
    private var count = 0

    var mean: Double { count == 0 ? .nan : sum / Double(count) }

    mutating func add(_ losses: [Float], _ mask: [UInt8]) {
        for i in losses.indices where mask[i] != 0 {
            sum += Double(losses[i])
            count += 1
        }
    }
}

/// Running sums over replaced tokens.
private struct ReconstructionSums {
    let dIn: Int
    let core: Int
    private let dSAE: Int
    private var firings: FiringCounts
    private var hasLegacy = true
    private var (tokens, entries, coreEntries) = (0, 0, 0)
    private var (residual, variance, legacy, cosine, ratio, square, product) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    init(dIn: Int, dSAE: Int, core: Int, tokens: Int) {
        (self.dIn, self.dSAE, self.core) = (dIn, dSAE, core)
        firings = FiringCounts(latents: dSAE, tokens: tokens)
    }

    mutating func add(_ sample: SpliceSample, _ reconstruction: Matrix, _ codes: SparseCodes, mean: [Double]) {
        let batchMean = self.batchMean(sample)
        for r in 0..<sample.residual.rows where sample.replaced[r] != 0 {
            let (x, y) = (sample.residual.row(r), reconstruction.row(r))
            var (error, total, batchTotal, xx, yy, xy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
            for c in 0..<dIn {
                let (a, b) = (Double(x[c]), Double(y[c]))
                error += (a - b) * (a - b)
                total += (a - mean[c]) * (a - mean[c])
                batchTotal += (a - batchMean[c]) * (a - batchMean[c])
                xx += a * a
                yy += b * b
                xy += a * b
            }
            residual += error
            variance += total
            if batchTotal > 0 {
                legacy += 1 - error / batchTotal
            } else {
                hasLegacy = false
            }
            cosine += xy / max((xx * yy).squareRoot(), 1e-30)
            ratio += (yy / max(xx, 1e-30)).squareRoot()
            square += yy
            product += xy
            tokens += 1
            firings.add(codes, row: r, id: sample.tokens.ids[r])
            for e in codes.entries(ofRow: r) {
                entries += 1
                if Int(codes.columnIndices[e]) < core { coreEntries += 1 }
            }
        }
    }

    private func batchMean(_ sample: SpliceSample) -> [Double] {
        var sum = [Double](repeating: 0, count: dIn)
        for r in 0..<sample.residual.rows where sample.replaced[r] != 0 {
            for c in 0..<dIn { sum[c] += Double(sample.residual[r, c]) }
        }
        return sum.map { $0 / Double(max(sample.replacedCount, 1)) }
    }

    var record: EvaluationRecord {
        let n = Double(max(tokens, 1)), entropies = firings.entropies()
        return EvaluationRecord(
            tokens: tokens, ce_loss_without_sae: .nan, ce_loss_with_sae: .nan, ce_loss_with_ablation: .nan,
            ce_loss_score: .nan, explained_variance: 1 - residual / variance,
            explained_variance_legacy: hasLegacy ? legacy / n : nil,
            l0: Double(entries) / n, l0_core: Double(coreEntries) / n, l0_non_core: Double(entries - coreEntries) / n,
            cossim: cosine / n, l2_ratio: ratio / n,
            relative_reconstruction_bias: product == 0 ? nil : square / product,
            frac_alive: Double(firings.alive) / Double(dSAE),
            firing_core: firings.record(of: 0..<core, entropies: entropies),
            firing_non_core: firings.record(of: core..<dSAE, entropies: entropies))
    }
}
