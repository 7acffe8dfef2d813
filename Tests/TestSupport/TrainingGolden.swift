import LinearAlgebra
import SparseCoding
import TensorFiles
import Testing

/// Steps of dictionary_learning's Matryoshka BatchTopK trainer, and of the same step with a frozen core.
///
/// Tolerances: forward and losses 2e-5, gradients 1e-4 of the largest element (single precision in another order of
/// summation); parameters 5e-5 after one and two steps, 1e-4 after ten (Adam divides by a gradient's own size and so
/// magnifies rounding where an entry is near 0).
package enum TrainingGolden {
    package struct Case: Sendable, CustomTestStringConvertible {
        package var name: String
        package var k = 8.0
        package var steps = 2
        package var core = 0
        package var coreIsDense = true
        package var coreIsPrefix = false
        package var budget = BudgetScope.nonCore
        package var parameterSteps = [1, 2]
        package var thresholds = false
        /// Whether the file has them: what is looked at where it is there must be known to be there.
        package var hasDead = false
        package var hasLosses = false

        package var testDescription: String { name }
    }

    /// The files that hold few steps, checked one by one.
    package static let cases = [
        Case(name: "a_plain", steps: 10, parameterSteps: [1, 2, 10], hasLosses: true),
        Case(name: "c_aux_many", hasDead: true),
        Case(name: "c_aux_few", hasDead: true),
        Case(name: "d_unclipped"),
        Case(
            name: "e_core_sparse", steps: 3, core: 6, coreIsDense: false, parameterSteps: [1, 2, 3], thresholds: true,
            hasLosses: true),
        Case(
            name: "e_core_prefix_loss", steps: 3, core: 6, coreIsPrefix: true, parameterSteps: [1, 2, 3],
            thresholds: true, hasLosses: true),
        Case(
            name: "e_core_dense_noncore", steps: 3, core: 6, parameterSteps: [1, 2, 3], thresholds: true,
            hasLosses: true),
        Case(
            name: "e_core_dense_total", steps: 3, core: 6, budget: .total, parameterSteps: [1, 2, 3], thresholds: true,
            hasLosses: true),
        Case(
            name: "e_core_dense_starved", k: 4, steps: 3, core: 20, budget: .total, parameterSteps: [1, 2, 3],
            thresholds: true, hasLosses: true),
        Case(
            name: "e_core_dense_aux", steps: 3, core: 6, parameterSteps: [1, 2, 3], thresholds: true, hasDead: true,
            hasLosses: true),
    ]

    private static func makeTrainer(_ golden: Golden, _ c: Case, _ device: any TrainingDevice, _ rule: any SparsityRule)
        throws -> Trainer
    {
        let layout = try PrefixLayout(groups: [8, 24, 32, 64], coreCount: c.core, coreIsPrefix: c.coreIsPrefix)
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
        return try Trainer(sae, plan: plan, rule: rule, tokensSinceFired: fired, on: device)
    }

    /// x of step i.
    package static func batch(_ golden: Golden, _ i: Int) throws -> Matrix {
        try golden.matrix("x").copy(rows: (i * 64)..<((i + 1) * 64))
    }

    /// Runs a case on a device, its steps and what its first one leaves.
    package static func check(_ c: Case, on device: any TrainingDevice, _ rule: any SparsityRule = NaiveBatchTopK())
        throws
    {
        let golden = try Golden("sae_train/\(c.name).safetensors")
        for name in ["aux.acts", "dead_count.step\(c.steps)", "num_tokens_since_fired.before"] {
            #expect((golden.file.tensors[name] != nil) == c.hasDead, "\(name)")
        }
        #expect((golden.file.tensors["loss_per_step"] != nil) == c.hasLosses)
        try checkFirstStep(golden, c, device, rule)
        let trainer = try makeTrainer(golden, c, device, rule)
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
                try trainer.arithmetic.export(TrainerState.parameters)
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

    private static func checkFirstStep(
        _ golden: Golden, _ c: Case, _ device: any TrainingDevice, _ rule: any SparsityRule
    ) throws {
        let x = try batch(golden, 0)
        let trainer = try makeTrainer(golden, c, device, rule)
        let raw = try trainer.computeGradients(x, projecting: false)
        let found = try trainer.arithmetic.inspect()
        let latents = found.codes.dense().values
        try golden.check("latents", latents, tolerance: 2e-5)
        // The set of active latents must be equal, whatever the tolerance of their values.
        let expected = try golden.expected("latents")
        #expect(paired(latents, expected).allSatisfy { ($0 > 0) == ($1 > 0) })
        try golden.check("x_hat", trainer.sae.decode(found.codes).values, tolerance: 2e-5)
        try golden.check("prefix_loss", raw.prefixLosses.map(Float.init), tolerance: 2e-5)
        try golden.check("loss", [Float(raw.loss)], tolerance: 2e-5)
        try checkGradients(golden, found.gradients, trainer.frozenCount, "grad_raw.", scale: 1)
        if golden.file.tensors["aux.acts"] != nil {
            try golden.check("aux.acts", found.auxiliary.dense().values, tolerance: 2e-5)
            try golden.check("aux.denominator", [Float(found.auxiliaryDenominator)], tolerance: 2e-5)
            try golden.check("aux.loss_normalised", [Float(raw.auxiliaryLoss)], tolerance: 2e-5)
        }
        let second = try makeTrainer(golden, c, device, rule)
        let projected = try second.computeGradients(x, projecting: true)
        try golden.check("grad_norm_projected", [Float(projected.gradientNorm)], tolerance: 1e-4)
        let gradients = try second.arithmetic.inspect().gradients
        try golden.check("grad_projected.W_dec", gradients.decoder.values, tolerance: 1e-4)
        let clip = Float(min(1, 1 / (projected.gradientNorm + 1e-6)))
        try checkGradients(golden, gradients, second.frozenCount, "grad_clipped.", scale: clip)
    }

    private static func checkGradients(
        _ golden: Golden, _ g: SparseAutoencoder, _ frozen: Int, _ prefix: String, scale: Float
    ) throws {
        let encoder = g.encoder.copy()
        for i in 0..<(frozen * 32) { encoder[i] = 0 }
        for (name, values) in [
            ("W_enc", encoder.transposed().values), ("W_dec", g.decoder.values), ("b_enc", g.encoderBias.values),
            ("b_dec", g.decoderBias.values),
        ] { try golden.check(prefix + name, values.map { $0 * scale }, tolerance: 1e-4) }
    }
}
