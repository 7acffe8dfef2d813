import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

import SparseCoding

/// Steps of dictionary_learning's Matryoshka BatchTopK trainer, and of the same step with a frozen core.
///
/// Tolerances: forward and losses 2e-5, gradients 1e-4 of the largest element (single precision in another order of
/// summation); parameters 5e-5 after one and two steps, 1e-4 after ten (Adam divides by a gradient's own size and so
/// magnifies rounding where an entry is near 0).
@Suite struct TrainingGoldenTests {
    private struct Case {
        var name: String
        var k = 8.0
        var steps = 2
        var core = 0
        var coreIsDense = true
        var budget = BudgetScope.nonCore
        var parameterSteps = [1, 2]
        var thresholds = false
        /// Whether the file has them: what is looked at where it is there must be known to be there.
        var hasDead = false
        var hasLosses = false
    }

    private func makeTrainer(_ golden: Golden, _ c: Case, lanes: Lanes) throws -> Trainer {
        let layout = try PrefixLayout(groups: [8, 24, 32, 64], coreCount: c.core)
        let sae = SparseAutoencoder(dIn: 32, layout: layout, coreIsDense: c.coreIsDense)
        sae.encoder.assign(try golden.matrix("init.W_enc").transposed())
        sae.encoderBias.assign(try golden.matrix("init.b_enc"))
        sae.decoder.assign(try golden.matrix("init.W_dec"))
        sae.decoderBias.assign(try golden.matrix("init.b_dec"))
        var settings = TrainingSettings(k: c.k, batchSize: 64, steps: 100)
        settings.learningRate = 1e-3
        settings.warmupSteps = 0
        settings.decayStart = DecayStart.never
        settings.thresholdStart = 0
        settings.thresholdBeta = 0.9
        settings.deadAfterTokens = 10_000_000
        settings.budget = c.budget
        settings.decoderBiasStart = .keep
        let plan = try TrainingPlan(settings, dIn: 32, layout: layout)
        let fired =
            golden.file.tensors["num_tokens_since_fired.before"] == nil
            ? nil : try golden.file.integers("num_tokens_since_fired.before").map(Int.init)
        return Trainer(sae, plan: plan, rule: NaiveBatchTopK(), tokensSinceFired: fired, lanes: lanes)
    }

    private func batch(_ golden: Golden, _ i: Int) throws -> Matrix {
        try golden.matrix("x").copy(rows: (i * 64)..<((i + 1) * 64))
    }

    private func run(_ c: Case, lanes: Lanes = .shared) throws {
        let golden = try Golden("sae_train/\(c.name).safetensors")
        for name in ["aux.acts", "dead_count.step\(c.steps)", "num_tokens_since_fired.before"] {
            #expect((golden.file.tensors[name] != nil) == c.hasDead, "\(name)")
        }
        #expect((golden.file.tensors["loss_per_step"] != nil) == c.hasLosses)
        try checkFirstStep(golden, c, lanes)
        let trainer = try makeTrainer(golden, c, lanes: lanes)
        let frozen = trainer.sae.encoder.copy(rows: 0..<c.core).values
        var losses: [Float] = []
        for i in 0..<c.steps {
            let record = try trainer.update(try batch(golden, i))
            losses.append(Float(record.loss))
            if c.thresholds {
                let expected = try golden.expected("threshold_after_step")[i]
                #expect(
                    abs(Double(record.threshold ?? -1) - expected) <= 2e-5 * abs(expected), "threshold of step \(i)")
                #expect(Float(record.meanActiveCore) == Float(try golden.expected("L0_core")[i]))
                #expect(Float(record.meanActiveNonCore) == Float(try golden.expected("L0_noncore")[i]))
            }
            if golden.file.tensors["dead_count.step\(i + 1)"] != nil {
                #expect(Int64(record.deadCount) == (try golden.file.integers("dead_count.step\(i + 1)"))[0])
                let fired = try golden.file.integers("num_tokens_since_fired.step\(i + 1)")
                #expect(trainer.tokensSinceFired == fired.map(Int.init))
            }
            if c.parameterSteps.contains(i + 1) {
                let tolerance = i + 1 > 3 ? 1e-4 : 5e-5
                let prefix = "step\(i + 1)."
                try golden.check(prefix + "W_enc", trainer.sae.encoder.transposed().values, tolerance: tolerance)
                try golden.check(prefix + "b_enc", trainer.sae.encoderBias.values, tolerance: tolerance)
                try golden.check(prefix + "W_dec", trainer.sae.decoder.values, tolerance: tolerance)
                try golden.check(prefix + "b_dec", trainer.sae.decoderBias.values, tolerance: tolerance)
            }
        }
        if golden.file.tensors["loss_per_step"] != nil {
            try golden.check("loss_per_step", losses, tolerance: 2e-5)
        }
        // Frozen means frozen: bit for bit.
        #expect(trainer.sae.encoder.copy(rows: 0..<c.core).values == frozen)
    }

    private func checkFirstStep(_ golden: Golden, _ c: Case, _ lanes: Lanes) throws {
        let x = try batch(golden, 0)
        let trainer = try makeTrainer(golden, c, lanes: lanes)
        let raw = try trainer.computeGradients(x, projecting: false)
        try golden.check("latents", trainer.codes.dense().values, tolerance: 2e-5)
        // The set of active latents must be equal, whatever the tolerance of their values.
        let expected = try golden.expected("latents")
        #expect(paired(trainer.codes.dense().values, expected).allSatisfy { ($0 > 0) == ($1 > 0) })
        try golden.check("x_hat", trainer.sae.decode(trainer.codes).values, tolerance: 2e-5)
        try golden.check("prefix_loss", raw.prefixLosses.map(Float.init), tolerance: 2e-5)
        try golden.check("loss", [Float(raw.loss)], tolerance: 2e-5)
        try checkGradients(golden, trainer, "grad_raw.", scale: 1)
        if golden.file.tensors["aux.acts"] != nil {
            try golden.check("aux.acts", trainer.auxiliary.codes.dense().values, tolerance: 2e-5)
            try golden.check("aux.denominator", [Float(trainer.auxiliary.denominator)], tolerance: 2e-5)
            try golden.check("aux.loss_normalised", [Float(raw.auxiliaryLoss)], tolerance: 2e-5)
        }
        let second = try makeTrainer(golden, c, lanes: lanes)
        let projected = try second.computeGradients(x, projecting: true)
        try golden.check("grad_norm_projected", [Float(projected.gradientNorm)], tolerance: 1e-4)
        try golden.check("grad_projected.W_dec", (0..<128).flatMap(second.gradients.decoderRow), tolerance: 1e-4)
        let clip = Float(min(1, 1 / (projected.gradientNorm + 1e-6)))
        try checkGradients(golden, second, "grad_clipped.", scale: clip)
    }

    private func checkGradients(_ golden: Golden, _ trainer: Trainer, _ prefix: String, scale: Float) throws {
        let g = trainer.gradients
        var encoder = rows(trainer, g.encoderRow)
        for i in 0..<(trainer.frozenCount * 32) { encoder[i] = 0 }
        let transposed = Matrix(rows: 128, columns: 32, encoder).transposed().values
        try golden.check(prefix + "W_enc", transposed.map { $0 * scale }, tolerance: 1e-4)
        try golden.check(prefix + "W_dec", (0..<128).flatMap(g.decoderRow).map { $0 * scale }, tolerance: 1e-4)
        try golden.check(prefix + "b_enc", g.encoderBias.values.map { $0 * scale }, tolerance: 1e-4)
        try golden.check(prefix + "b_dec", g.decoderBias.values.map { $0 * scale }, tolerance: 1e-4)
    }

    private func rows(_ trainer: Trainer, _ row: (Int) -> UnsafePointer<Float>) -> [Float] {
        (0..<128).flatMap { j in (0..<32).map { row(j)[$0] } }
    }

    @Test func plainStepsMatchTheReferenceTrainer() throws {
        try run(Case(name: "a_plain", steps: 10, parameterSteps: [1, 2, 10], hasLosses: true))
    }

    @Test func manyDeadLatentsAreRevivedAsInTheReference() throws { try run(Case(name: "c_aux_many", hasDead: true)) }

    @Test func fewDeadLatentsAreRevivedAsInTheReference() throws { try run(Case(name: "c_aux_few", hasDead: true)) }

    @Test func gradientsBelowTheClipNormAreNotScaled() throws { try run(Case(name: "d_unclipped")) }

    @Test func aSparseCoreCompetesWithFrozenEncoderVectors() throws {
        try run(
            Case(
                name: "e_core_sparse", steps: 3, core: 6, coreIsDense: false, parameterSteps: [1, 2, 3],
                thresholds: true, hasLosses: true))
    }

    @Test func aDenseCoreOutsideTheBudgetMatches() throws {
        try run(
            Case(
                name: "e_core_dense_noncore", steps: 3, core: 6, parameterSteps: [1, 2, 3], thresholds: true,
                hasLosses: true))
    }

    @Test func aDenseCoreInsideTheBudgetMatches() throws {
        try run(
            Case(
                name: "e_core_dense_total", steps: 3, core: 6, budget: .total, parameterSteps: [1, 2, 3],
                thresholds: true, hasLosses: true))
    }

    @Test func aDenseCoreThatStarvesTheRestMatches() throws {
        try run(
            Case(
                name: "e_core_dense_starved", k: 4, steps: 3, core: 20, budget: .total, parameterSteps: [1, 2, 3],
                thresholds: true, hasLosses: true))
    }

    @Test func deadLatentsBesideADenseCoreMatch() throws {
        try run(
            Case(
                name: "e_core_dense_aux", steps: 3, core: 6, parameterSteps: [1, 2, 3], thresholds: true, hasDead: true,
                hasLosses: true))
    }

    @Test func oneLaneAndThreeLanesMatchToo() throws {
        try run(Case(name: "c_aux_many", hasDead: true), lanes: Lanes(count: 1))
        try run(
            Case(name: "e_core_dense_aux", steps: 3, core: 6, thresholds: true, hasDead: true, hasLosses: true),
            lanes: Lanes(count: 3))
    }

    @Test func aWholeScheduledRunMatches() throws {
        let golden = try Golden("sae_train/b_schedule.safetensors")
        let layout = try PrefixLayout(groups: [8, 24, 32, 64])
        let sae = SparseAutoencoder(dIn: 32, layout: layout)
        sae.encoder.assign(try golden.matrix("init.W_enc").transposed())
        sae.decoder.assign(try golden.matrix("init.W_dec"))
        sae.encoderBias.assign(try golden.matrix("init.b_enc"))
        sae.decoderBias.assign(try golden.matrix("init.b_dec"))
        var settings = TrainingSettings(k: 8, batchSize: 64, steps: 10)
        settings.learningRate = 2e-3
        settings.warmupSteps = 3
        settings.decayStart = .step(6)
        settings.thresholdStart = 3
        settings.thresholdBeta = 0.9
        settings.deadAfterTokens = 10_000_000
        settings.groupWeights = [0.4, 0.3, 0.2, 0.1]
        let plan = try TrainingPlan(settings, dIn: 32, layout: layout)
        let trainer = Trainer(sae, plan: plan, rule: NaiveBatchTopK())
        try golden.check("geometric_median", geometricMedian(of: try batch(golden, 0)).values, tolerance: 2e-5)
        var losses: [Float] = []
        for i in 0..<10 {
            #expect(abs(plan.learningRate(at: i) - (try golden.expected("lr_per_step"))[i]) < 1e-12)
            let record = try trainer.update(try batch(golden, i))
            losses.append(Float(record.loss))
            let threshold = try golden.expected("threshold_after_step")[i]
            #expect(abs(Double(record.threshold ?? -1) - threshold) <= 1e-4 * abs(threshold), "step \(i)")
            if [0, 1, 2, 5, 9].contains(i) {
                let prefix = "after_step\(i)."
                try golden.check(prefix + "W_enc", sae.encoder.transposed().values, tolerance: 1e-4)
                try golden.check(prefix + "b_enc", sae.encoderBias.values, tolerance: 1e-4)
                try golden.check(prefix + "W_dec", sae.decoder.values, tolerance: 1e-4)
                try golden.check(prefix + "b_dec", sae.decoderBias.values, tolerance: 1e-4)
            }
        }
        try golden.check("loss_per_step", losses, tolerance: 2e-5)
        let codes = SparseCodes()
        try EncodingPass().encode(try batch(golden, 0), with: sae, into: codes)
        try golden.check("final.encode_threshold", codes.dense().values, tolerance: 1e-4)
        try golden.check("final.decode", sae.decode(codes).values, tolerance: 1e-4)
    }
}
