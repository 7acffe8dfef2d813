import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

import SparseCoding

/// Forty steps of dictionary_learning's own trainer at D = 8, F = 32: warm-up, threshold, dead latents and decay all
/// happen. Tolerance 2e-5 on losses and thresholds; 1e-4 on final parameters, forty Adam steps from the start.
@Test func fortyStepsFollowTheReferenceTrace() throws {
    let trace = try JSONValue(contentsOf: fixture("sae_train/matryoshka_batchtopk_trace.json"))
    func numbers(_ value: JSONValue?) -> [Float] { value?.array?.compactMap { $0.double.map(Float.init) } ?? [] }
    let initial = trace["init"]
    let layout = try PrefixLayout(groups: [1, 2, 4, 8, 17])
    let sae = SparseAutoencoder(dIn: 8, layout: layout)
    sae.decoder.assign(Matrix(rows: 32, columns: 8, numbers(initial?["W_dec"])))
    sae.encoder.assign(Matrix(rows: 8, columns: 32, numbers(initial?["W_enc"])).transposed())
    var settings = TrainingSettings(k: 3, batchSize: 16, steps: 40)
    settings.learningRate = 3e-3
    settings.warmupSteps = 5
    settings.decayStart = .step(30)
    settings.thresholdStart = 3
    settings.thresholdBeta = 0.9
    settings.deadAfterTokens = 64
    let trainer = try Trainer(sae, plan: try TrainingPlan(settings, dIn: 8, layout: layout), rule: NaiveBatchTopK())
    let steps = trace["steps"]?.array ?? []
    #expect(steps.count == 40)
    var sawDead = false
    for (i, step) in steps.enumerated() {
        let record = try trainer.update(Matrix(rows: 16, columns: 8, numbers(step["X"])))
        let loss = step["loss"]?.double ?? .nan
        #expect(abs(record.loss - loss) <= 2e-5 * abs(loss), "loss of step \(i)")
        let threshold = step["threshold"]?.double ?? .nan
        #expect(abs(Double(record.threshold ?? -1) - threshold) <= 2e-5 * abs(threshold), "threshold of step \(i)")
        #expect(record.deadCount == step["dead"]?.integer, "dead latents at step \(i)")
        sawDead = sawDead || record.deadCount > 0
    }
    #expect(sawDead, "the trace exercises the auxiliary loss")
    try trainer.bringBack()
    let final = trace["final"]
    for (name, found) in [
        ("W_dec", sae.decoder.values), ("W_enc", sae.encoder.transposed().values), ("b_enc", sae.encoderBias.values),
        ("b_dec", sae.decoderBias.values),
    ] {
        checkClose(found, numbers(final?[name]).map(Double.init), tolerance: 1e-4, name)
    }
}
