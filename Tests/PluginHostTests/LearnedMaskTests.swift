import Attribution
import Glibc
import LinearAlgebra
import PluginHost
import PluginTestSupport
import SparseCoding
import TestSupport
import Testing

/// The learned mask, against one that is learned by central differences, and where the answer is known.
struct LearnedMaskTests {
    let services = Services()

    private func accumulation(_ settings: String) throws -> any AccumulatingScore {
        try #require(try PluginCatalog().scorer(settings, services: services.value).accumulation)
    }

    /// SplitMix64's output function, as the plugin draws κ.
    private func uniform(_ seed: UInt64, _ step: Int) -> Double {
        func mix(_ word: UInt64) -> UInt64 {
            var z = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
        return Double(mix(mix(seed &+ 0x9e37_79b9_7f4a_7c15) &+ UInt64(step) &+ 1) >> 11) * 0x1p-53
    }

    /// σ((s − t)/T) with t such that they add up to `kept`, found to the last bit.
    private func masks(_ logits: [Double], kept: Double, temperature: Double) -> [Double] {
        func masks(_ t: Double) -> [Double] { logits.map { 1 / (1 + exp((t - $0) / temperature)) } }
        let reach = temperature * (log(Double(logits.count)) + 10)
        var (low, high) = (logits.min()! - reach, logits.max()! + reach)
        while true {
            let middle = (low + high) / 2
            if middle == low || middle == high { return masks(middle) }
            if masks(middle).reduce(0, +) > kept { low = middle } else { high = middle }
        }
    }

    /// Adam on central differences of the mean loss of a token over the logits, the threshold found anew for each.
    private func learned(
        _ batch: ScoringBatch, target: Matrix, steps: Int, temperature: Double, rate: Double, seed: UInt64
    ) -> [Double] {
        let (f, d, m) = (batch.codes.dense(), target.columns, batch.codes.columns)
        func loss(_ s: Int, _ logits: [Double], _ kept: Double) -> Double {
            let masks = masks(logits, kept: kept, temperature: temperature)
            let tokens = Int(batch.sequenceOffsets[s])..<Int(batch.sequenceOffsets[s + 1])
            return tokens.reduce(0.0) { sum, t in
                (0..<d).reduce(sum) { total, i in
                    let away = (0..<m).reduce(0.0) {
                        $0 + (1 - masks[$1]) * Double(f[t, $1]) * Double(batch.decoder[$1, i])
                    }
                    let difference = Double(batch.reconstruction[t, i]) - away - Double(target[t, i])
                    return total + 0.5 * difference * difference
                }
            } / Double(tokens.count)
        }
        // All of them fire in the first sequence; the last never fires.
        var (logits, first, second) = (
            [Double](repeating: 0, count: m + 1), [Double](repeating: 0, count: m + 1), [0.0]
        )
        second = first
        for step in 0..<steps {
            let kept = 1 + uniform(seed, step) * Double(m), h = 1e-4
            let slopes = logits.indices.map { j in
                var (up, down) = (logits, logits)
                up[j] += h
                down[j] -= h
                return (loss(step % 2, up, kept) - loss(step % 2, down, kept)) / (2 * h)
            }
            for j in logits.indices {
                first[j] = 0.9 * first[j] + 0.1 * slopes[j]
                second[j] = 0.999 * second[j] + 0.001 * slopes[j] * slopes[j]
                let (mean, square) = (
                    first[j] / (1 - pow(0.9, Double(step + 1))), second[j] / (1 - pow(0.999, Double(step + 1)))
                )
                logits[j] -= rate * mean / (square.squareRoot() + 1e-8)
            }
        }
        return (0..<m).map { logits[$0] - logits[m] }
    }

    /// A dense batch of two sequences, in which every latent fires in both.
    private func batch(latents m: Int, dimensions d: Int) -> (ScoringBatch, Matrix) {
        var batch = randomBatch(tokens: 12, latents: m, dimensions: d, perToken: m)
        batch.firstToken = 0
        let target = Matrix(rows: 12, columns: d)
        for i in 0..<target.count { target[i] = batch.reconstruction[i] - batch.gradient[i] }
        return (batch, target)
    }

    @Test func `each step follows the slope of the loss over the logits, as many kept as were drawn`() throws {
        let (batch, target) = batch(latents: 7, dimensions: 5)
        let asking = QuadraticLoss(batch, target: target).asking
        for (steps, temperature) in [(1, 0.5), (2, 0.5), (25, 0.5), (24, 2.0)] {
            let found = try accumulation("mattr,steps=\(steps),temperature=\(temperature),seed=3").outputs(over: [
                asking
            ])
            let expected = learned(
                batch, target: target, steps: steps, temperature: temperature, rate: 0.05, seed: 3)
            // Slopes by differences to 1e-7 of their size, by floats to 1e-6; Adam divides by their size.
            checkClose(found["mattr"]!, expected, tolerance: 1e-4, "\(steps) steps")
        }
    }

    @Test func `latents that do more come first, those that harm last, and one that does nothing is at 0`() throws {
        // Each latent has a direction of its own, with effects from harmful over none to large ones.
        let (m, S, T) = (12, 6, 5)
        let effects = (0..<m).map { Float($0) - 3 }
        let codes = SparseCodes(dense: Matrix(rows: S * T, columns: m, [Float](repeating: 1, count: S * T * m)))
        let decoder = Matrix(rows: m, columns: m), x = Matrix(rows: S * T, columns: m),
            target = Matrix(rows: S * T, columns: m)
        for j in 0..<m {
            decoder[j, j] = 1
            for t in 0..<S * T {
                x[t, j] = 1
                // Taking it away raises the loss by ½(e + ½)² − ½(e − ½)² = e.
                target[t, j] = 0.5 + effects[j]
            }
        }
        let zeros = Matrix(rows: S * T, columns: m)
        let batch = ScoringBatch(
            codes: codes, decoder: decoder, decoderBias: Matrix(rows: 1, columns: m), residual: x, reconstruction: x,
            gradient: zeros, loss: [Float](repeating: 1, count: S * T), tokens: [Int32](repeating: 0, count: S * T),
            sequenceOffsets: (0...S).map { Int64($0 * T) }, scored: [UInt8](repeating: 1, count: S * T), firstToken: 0,
            coreCount: 0, prefixWidths: [Int64(m)], splicedWidth: m, errorTermAdded: false)
        let found = try accumulation("mattr").outputs(over: [QuadraticLoss(batch, target: target).asking])["mattr"]!
        #expect(found.indices.sorted { found[$0] < found[$1] } == Array(0..<m), "\(found)")
        for j in 0..<m where j != 3 { #expect((found[j] > 0) == (effects[j] > 0), "\(j): \(found[j])") }
        // The one in the middle: half of its removal helps as much as the other half harms.
        #expect(abs(found[3]) < 0.2 * found[m - 1], "\(found[3])")
    }

    @Test func `it looks as often as its steps take, from state to state, and says nothing of what never fired`() throws
    {
        let splice = try GoldenSplice(), scorer = try PluginCatalog().scorer("mattr,steps=10", services: services.value)
        let accumulation = try #require(scorer.accumulation)
        let plan = ScoringPlan(
            latentCount: 32, dimension: 48, sequenceCount: 4, tokenCount: 96, coreCount: 0, errorTermAdded: false)
        #expect(accumulation.isSequential)
        #expect(try accumulation.passCount(plan) == 3)
        var tight = plan
        tight.evaluationBudget = 5
        #expect(try accumulation.passCount(tight) == 2)
        let batch = try splice.pass(NaiveGradientTimesActivation(), prefix: 32).spliced.run(try splice.sample()).batch
        let f = batch.codes.dense()
        // One pass of few steps; what comes later has no say, but what fires is known.
        let scores = try splice.outputs(
            try PluginCatalog().scorer("mattr,steps=4", services: services.value), sequences: 1)["mattr"]!
        for j in 0..<32 { #expect(scores[j].isNaN == !(0..<96).contains { f[$0, j] != 0 }, "\(j)") }
        // However many sequences a batch has.
        let together = try splice.outputs(
            try PluginCatalog().scorer("mattr,steps=4", services: services.value), sequences: 4)["mattr"]!
        checkCloseWhereKnown(together, scores, tolerance: 1e-3, "cut")
        for setting in ["steps=0", "rate=0", "temperature=0", "seed=x"] {
            let text = message { _ = try self.accumulation("mattr,\(setting)") }
            #expect(text.contains(" of mattr is '"), "\(text)")
        }
    }
}
