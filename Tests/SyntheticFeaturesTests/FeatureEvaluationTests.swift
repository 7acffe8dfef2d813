import LanguageModeling
import LinearAlgebra
import SparseCoding
import SyntheticFeatures
import TestSupport
import Testing

/// Measures of SAEs whose latents are known to be features, or not.
@Suite struct FeatureEvaluationTests {
    private let model: SyntheticModel

    init() throws {
        var settings = SyntheticSettings()
        (settings.features, settings.width, settings.vocabulary, settings.context) = (16, 48, 20, 32)
        (settings.firing, settings.promoted, settings.zipf) = (3, 3, 0.3)
        (settings.useful, settings.strength) = (0.25, 6)
        model = SyntheticModel(try SyntheticWorld(settings))
    }

    /// Latents that are features, in this order, and as many that are nothing; the encoder is the dual basis, so that codes are magnitudes.
    private func sae(_ features: [Int], core: Int) throws -> SparseAutoencoder {
        let (n, d, world) = (features.count, 48, model.world)
        let sae = SparseAutoencoder(
            dIn: d, layout: try PrefixLayout(groups: [n, 4], coreCount: core), coreIsDense: false)
        for (j, i) in features.enumerated() {
            for c in 0..<d { sae.decoder[j, c] = world.directions[i, c] }
            let row = dual(i)
            for c in 0..<d { sae.encoder[j, c] = Float(row[c]) }
        }
        let noise = randomMatrix(4, d, seed: 9, from: -1, to: 1)
        for j in 0..<4 { for c in 0..<d { (sae.decoder[n + j, c], sae.encoder[n + j, c]) = (noise[j, c], 0) } }
        for c in 0..<d { sae.decoderBias[c] = world.bias[c] }
        sae.inference = .threshold(0.05)
        return sae
    }

    /// The vector with ⟨e, dᵢ⟩ = 1 and 0 with all others: what is left of dᵢ when the others are taken off, over its square.
    private func dual(_ i: Int) -> [Double] {
        func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0.0) { $0 + $1.0 * $1.1 } }
        let rows = (0..<16).map { r in (0..<48).map { Double(model.world.directions[r, $0]) } }
        var basis: [[Double]] = []
        func without(_ v: [Double]) -> [Double] {
            basis.reduce(v) { left, b in
                let along = dot(left, b)
                return zip(left, b).map { $0 - along * $1 }
            }
        }
        for r in 0..<16 where r != i {
            let left = without(rows[r])
            let norm = dot(left, left).squareRoot()
            basis.append(left.map { $0 / norm })
        }
        let left = without(without(rows[i])), square = dot(left, left)
        return left.map { $0 / square }
    }

    private func findings(_ sae: SparseAutoencoder) throws -> (FeatureEvaluation, FeatureEvaluation.Findings) {
        let evaluation = try FeatureEvaluation(sae, of: model)
        for rows in [0..<40, 40..<120] {
            try evaluation.add(
                TokenBatch(ids: model.sample(rows: rows), sequenceCount: rows.count, length: 32))
        }
        let core = Array(0..<sae.layout.coreCount), inner = Array(0..<sae.layout.innermost)
        return (
            evaluation,
            try evaluation.findings(
                sets: ["core": (core, inner.filter { $0 >= core.count }), "inner": (inner, [])], draws: 100, seed: 1)
        )
    }

    /// Codes are magnitudes to single precision, so every measure has its best value; four latents are nothing.
    @Test func latentsThatAreTheFeaturesAreFoundPerfect() throws {
        let (evaluation, found) = try findings(try sae(Array(0..<16), core: 4))
        #expect(found.tokens == 120 * 31 && found.dead_latents == 4)
        #expect(abs(found.true_l0 - found.sae_l0) < 1e-12 && abs(found.true_l0 - 3) < 0.3)
        #expect(try #require(found.explained_variance) > 1 - 1e-9)
        #expect(abs(found.shrinkage - 1) < 1e-5 && abs(found.mcc - 1) < 1e-6)
        let c = found.classification
        #expect([c.precision, c.recall, c.f1_score].allSatisfy { abs($0 - 16.0 / 20) < 1e-12 })
        #expect(evaluation.match[..<16].map(\.feature) == Array(0..<16))
        let inner = try #require(found.sets["inner"])
        #expect(inner.latents == 16 && inner.matched == 1 && inner.features == 16 && inner.useful_found == 1)
        #expect(abs(inner.usefulness - 1) < 1e-12 && inner.chance == nil)
        // A feature that nothing reads counts where it lies near to one that is read and fires with it: a thirteenth of these, here.
        let useful = evaluation.usefulness
        let some = (0..<16).filter { model.world.isUseful[$0] }.map { useful[$0] }
        let others = (0..<16).filter { !model.world.isUseful[$0] }.map { useful[$0] }
        #expect(some.reduce(0, +) / 4 > 8 * others.reduce(0, +) / 12 && some.min()! > others.max()!, "\(useful)")
    }

    /// Rows of 20 tokens and 12 of padding count as those 20 alone, whatever ids stand behind them.
    @Test func paddingDoesNotCount() throws {
        func findings(_ batch: TokenBatch) throws -> (FeatureEvaluation.Findings, [Double]) {
            let evaluation = try FeatureEvaluation(try sae(Array(0..<16), core: 4), of: model)
            try evaluation.add(batch)
            return (
                try evaluation.findings(sets: ["core": ([0, 1, 2, 3], [])], draws: 40, seed: 1), evaluation.usefulness
            )
        }
        let ids = model.sample(rows: 0..<6)
        let short = (0..<6).flatMap { ids[$0 * 32..<$0 * 32 + 20] }
        let padded = try findings(TokenBatch(ids: ids, counts: [Int](repeating: 20, count: 6), length: 32))
        let alone = try findings(TokenBatch(ids: short, sequenceCount: 6, length: 20))
        #expect(padded.0.tokens == 6 * 19 && padded.0.true_l0 == alone.0.true_l0 && padded.0.sae_l0 == alone.0.sae_l0)
        // Products of other numbers of rows round differently in their last bit.
        #expect(relativeDifference(padded.1.map { Float($0) }, alone.1) < 1e-5)
    }

    @Test func aCoreOfTheUsefulFeaturesIsToldFromOneOfOthers() throws {
        let world = model.world
        let useful = (0..<16).filter { world.isUseful[$0] }, others = (0..<16).filter { !world.isUseful[$0] }
        #expect(useful.count == 4)
        let (_, best) = try findings(try sae(useful + others, core: 4))
        let core = try #require(best.sets["core"])
        #expect(core.useful_found == 1 && abs(core.usefulness - 1) < 1e-12 && core.features == 4)
        #expect(try #require(core.chance).high < 0.2)
        let (_, worst) = try findings(try sae(others + useful, core: 4))
        let other = try #require(worst.sets["core"]), chance = try #require(other.chance)
        #expect(other.useful_found == 0 && other.usefulness < 0.2 && chance.low <= chance.mean)
        #expect(chance.mean > 0.15 && chance.high > 0.4, "a third of the others are useful")
    }

    /// Two latents of one feature, and a pair that is half of each: found by neither's name.
    @Test func featuresThatAreSplitOrMixedAreNotFound() throws {
        let sae = try sae(Array(0..<16), core: 0)
        for c in 0..<48 {
            sae.decoder[1, c] = sae.decoder[0, c]
            sae.decoder[2, c] = sae.decoder[2, c] + sae.decoder[3, c]
            sae.decoder[3, c] = sae.decoder[2, c]
        }
        let (evaluation, found) = try findings(sae)
        #expect(evaluation.match[1].feature == 0 && evaluation.match[2].cosine < 0.9)
        #expect(found.mcc < 1 - 1e-3 && (found.explained_variance ?? 1) < 0.99)
        #expect(Set(evaluation.match.map(\.feature)).count == Int((found.uniqueness * 20).rounded()))
        #expect(throws: SyntheticError.otherWidth(sae: 5, world: 48)) {
            _ = try FeatureEvaluation(
                SparseAutoencoder(dIn: 5, layout: try PrefixLayout(groups: [4])), of: model)
        }
    }
}
