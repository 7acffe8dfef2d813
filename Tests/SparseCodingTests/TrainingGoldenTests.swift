import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

import SparseCoding

/// See `TrainingGolden`.
@Suite struct TrainingGoldenTests {
    @Test(arguments: TrainingGolden.cases) func stepsMatchTheReferenceTrainer(_ c: TrainingGolden.Case) throws {
        try TrainingGolden.check(c, on: Lanes.shared)
    }

    @Test func oneLaneAndThreeLanesMatchToo() throws {
        try TrainingGolden.check(TrainingGolden.cases.first { $0.name == "c_aux_many" }!, on: Lanes(count: 1))
        try TrainingGolden.check(TrainingGolden.cases.first { $0.name == "e_core_dense_aux" }!, on: Lanes(count: 3))
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
        let trainer = try Trainer(sae, plan: plan, rule: NaiveBatchTopK())
        try golden.check(
            "geometric_median", geometricMedian(of: try TrainingGolden.batch(golden, 0)).values, tolerance: 2e-5)
        var losses: [Float] = []
        for i in 0..<10 {
            #expect(abs(plan.learningRate(at: i) - (try golden.expected("lr_per_step"))[i]) < 1e-12)
            let record = try trainer.update(try TrainingGolden.batch(golden, i))
            losses.append(Float(record.loss))
            let threshold = try golden.expected("threshold_after_step")[i]
            #expect(abs(Double(record.threshold ?? -1) - threshold) <= 1e-4 * abs(threshold), "step \(i)")
            if [0, 1, 2, 5, 9].contains(i) {
                let (prefix, sae) = ("after_step\(i).", try trainer.exportedState().sae)
                try golden.check(prefix + "W_enc", sae.encoder.transposed().values, tolerance: 1e-4)
                try golden.check(prefix + "b_enc", sae.encoderBias.values, tolerance: 1e-4)
                try golden.check(prefix + "W_dec", sae.decoder.values, tolerance: 1e-4)
                try golden.check(prefix + "b_dec", sae.decoderBias.values, tolerance: 1e-4)
            }
        }
        try golden.check("loss_per_step", losses, tolerance: 2e-5)
        try trainer.bringBack()
        let codes = SparseCodes()
        try SparseEncoder().encode(try TrainingGolden.batch(golden, 0), with: sae, into: codes)
        try golden.check("final.encode_threshold", codes.dense().values, tolerance: 1e-4)
        try golden.check("final.decode", sae.decode(codes).values, tolerance: 1e-4)
    }
}
