import Attribution
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TestSupport
import Testing

/// Curves and latents on the attribution golden's model and SAE.
@Suite struct FaithfulnessTests {
    private let splice: GoldenSplice
    private let policy = SplicePolicy(keepFirst: 0, specialTokens: [], sinkRatio: nil)

    init() throws { splice = try GoldenSplice() }

    private func spliced(errorTerm: Bool = false) throws -> SplicedModel {
        var settings = ScoringSettings()
        settings.prefix = 32
        settings.errorTerm = errorTerm
        return try SplicedModel(model: splice.model, hook: .residPost(1), sae: try splice.sae(), settings: settings)
    }

    private func sum(_ losses: FaithfulnessCurves.SequenceLosses) -> Double { losses.sums.reduce(0, +) }

    /// Losses of a whole run with the activations of `zeroed` set to 0, from dense codes.
    private func naive(_ batch: ScoringBatch, zeroed: (Int) -> Bool) throws -> Double {
        let x = batch.reconstruction.copy()
        let f = batch.codes.dense()
        for t in 0..<x.rows {
            for j in 0..<32 where zeroed(j) { for c in 0..<48 { x[t, c] -= f[t, j] * batch.decoder[j, c] } }
        }
        return try splice.model.losses(of: splice.tokens, residual: x, afterLayer: 1).reduce(0.0) { $0 + Double($1) }
    }

    @Test(arguments: [false, true]) func pointsAreRunsWithoutTheLatents(_ errorTerm: Bool) throws {
        let spliced = try spliced(errorTerm: errorTerm)
        let curves = try FaithfulnessCurves(spliced, samples: [try splice.sample()], policy: policy)
        #expect(curves.counts == [0, 4, 8, 16, 32])
        let batch = try spliced.run(try splice.sample()).batch
        let ranking = Array((0..<32).reversed())
        for n in curves.counts {
            let kept = sum(try curves.losses(ranking, top: n, removed: false))
            let removed = sum(try curves.losses(ranking, top: n, removed: true))
            // Sums of 92 losses of 5 nats; the order of additions within x̂ differs.
            #expect(abs(kept - (try naive(batch) { !ranking.prefix(n).contains($0) })) < 1e-5 * kept)
            #expect(abs(removed - (try naive(batch) { ranking.prefix(n).contains($0) })) < 1e-5 * removed)
        }
        let all = sum(try curves.losses([], top: 0, removed: true))
        #expect(abs(all - batch.loss.reduce(0.0) { $0 + Double($1) }) < 1e-6 * all)
        if errorTerm { #expect(abs(all - sum(try curves.original())) < 1e-6 * all) }
        #expect(try curves.original().counts == [23, 23, 23, 23])
    }

    @Test func areasAreZeroAndOneWhereNothingAndEverythingComesAtOnce() {
        func losses(_ value: Double) -> FaithfulnessCurves.SequenceLosses {
            FaithfulnessCurves.SequenceLosses(sums: [value * 3, value * 5], counts: [3, 5])
        }
        // n = 0, 1, 3 lie at x = 0, ½, 1.
        let straight = CurvePoints(kept: [10, 6, 2].map(losses), removed: [2, 6, 10].map(losses))
        let areas = straight.areas([0, 1, 3], [1, 1])
        #expect(abs(areas.kept - 0.5) < 1e-15 && abs(areas.removed - 0.5) < 1e-15)
        let early = CurvePoints(kept: [10, 2, 2].map(losses), removed: [2, 10, 10].map(losses))
        #expect(abs(early.areas([0, 1, 3], [2, 0]).kept - 0.75) < 1e-15)
        #expect(abs(early.areas([0, 1, 3], [0, 1]).removed - 0.75) < 1e-15)
    }

    @Test func latentsAreShownWhereTheyFireMost() throws {
        let sae = try splice.sae()
        var left: SpliceSample? = try splice.sample()
        let inspection = try LatentInspection(
            sae, model: splice.model, tokenizer: nil,
            sample: {
                defer { left = nil }
                return left
            }, progress: { _ in })
        #expect(inspection.tokenCount == 96)
        let codes = try spliced().run(try splice.sample()).codes.dense()
        var extent = LatentInspection.Extent()
        extent.radius = 3
        let records = inspection.records(of: Array(0..<32), extent)
        #expect(records.map(\.latent) == Array(0..<32))
        for record in records {
            let j = record.latent
            let column = (0..<96).map { codes[$0, j] }
            #expect(record.frequency == Double(column.count { $0 > 0 }) / 96)
            #expect(record.largest == Double(column.max() ?? 0))
            let peaks = (0..<4).map { s in column[s * 24..<(s + 1) * 24].max() ?? 0 }.filter { $0 > 0 }.sorted(by: >)
            #expect(record.contexts.map { Float($0.activations[$0.peak]) } == peaks)
            for context in record.contexts { #expect(context.tokens.count <= 7 && context.peak <= 3) }
            let cosines = (0..<128).filter { $0 != j }.map { other in
                (other, (0..<48).reduce(0.0) { $0 + Double(sae.decoder[j, $1]) * Double(sae.decoder[other, $1]) })
            }
            // Rows have unit norm to 1e-6.
            #expect(abs(record.neighbours[0].cosine - (cosines.map(\.1).max() ?? 0)) < 1e-5)
            #expect(record.promoted.count == 8 && record.promoted[0].value >= record.promoted[7].value)
            #expect(record.suppressed[0].value <= record.suppressed[7].value)
        }
        #expect(inspection.byFrequency.first.map { inspection.records(of: [$0])[0].frequency } ?? 0 > 0)
    }

    /// logit lens: W_U (w ∘ x), against the logits of the model, which are W_U (w ∘ x·r) for a stream that block 2 leaves as
    /// it is.
    @Test func directLogitsAreTheLogitsButForTheirScale() throws {
        let last = splice.model.configuration.layerCount - 1
        let x = try splice.model.residual(of: splice.tokens, afterLayer: last)
        let logits = try splice.model.logits(of: splice.tokens, residual: x, afterLayer: last)
        let direct = splice.model.directLogits(of: x)
        let epsilon = try DecoderDescription(huggingFace: fixture("models/llama/config.json")).norm.epsilon
        for t in [0, 5, 95] {
            let row = (0..<48).map { Double(x[t, $0]) }
            let mean = row.reduce(0) { $0 + $1 * $1 } / 48
            let r = 1 / (mean + epsilon).squareRoot()
            let largest = (0..<logits.columns).map { abs(logits[t, $0]) }.max() ?? 1
            for v in 0..<logits.columns {
                #expect(abs(Double(direct[t, v]) * r - Double(logits[t, v])) < 1e-5 * Double(largest))
            }
        }
    }
}
