import Attribution
import LanguageModeling
import LinearAlgebra
import PluginHost
import PluginTestSupport
import SparseCoding
import TestSupport
import Testing

/// Shapley values of latents, against all coalitions of ten and against the closed form of a quadratic loss.
struct ShapleyTests {
    let services = Services()

    private func scorer(_ settings: String) throws -> any AttributionScorer {
        try PluginCatalog().scorer(settings, services: services.value)
    }

    /// Losses [2^10][4] of the golden sequences with each coalition of the first ten latents in place, and which of them fire.
    private func coalitions(_ splice: GoldenSplice) throws -> (losses: [[Double]], fires: [[Bool]]) {
        let batch = try splice.pass(NaiveGradientTimesActivation(), prefix: 10).spliced.run(try splice.sample()).batch
        let f = batch.codes.dense()
        let losses = try (0..<1024).map { present in
            let rows = batch.reconstruction.copy()
            for t in 0..<96 {
                for j in 0..<10 where present & 1 << j == 0 && f[t, j] != 0 {
                    for c in 0..<48 { rows[t, c] -= f[t, j] * batch.decoder[j, c] }
                }
            }
            let losses = try splice.model.losses(of: splice.tokens, residual: rows, afterLayer: 1)
            return (0..<4).map { s in losses[s * 24..<(s + 1) * 24].reduce(0.0) { $0 + Double($1) } }
        }
        let fires = (0..<10).map { j in (0..<4).map { s in (0..<24).contains { f[s * 24 + $0, j] != 0 } } }
        return (losses, fires)
    }

    @Test func `Shapley values of ten latents are those of all their coalitions`() throws {
        let splice = try GoldenSplice()
        let (losses, fires) = try coalitions(splice)
        let draws = 60
        let found = try splice.outputs(try scorer("shapley,draws=\(draws)"), prefix: 10)
        func factorial(_ n: Int) -> Double { (1..<max(2, n + 1)).reduce(1.0) { $0 * Double($1) } }
        var compared = 0
        for s in 0..<4 {
            for j in 0..<10 {
                var (mean, square) = (0.0, 0.0)
                for present in 0..<1024 where present & 1 << j == 0 {
                    let size = present.nonzeroBitCount
                    let weight = factorial(size) * factorial(9 - size) / factorial(10)
                    let gain = losses[present][s] - losses[present | 1 << j][s]
                    mean += weight * gain
                    square += weight * gain * gain
                }
                let value = found["loss_share"]![j * 4 + s]
                guard fires[j][s] else {
                    #expect(value == 0)
                    continue
                }
                let error = (max(0, square - mean * mean) / Double(draws)).squareRoot()
                // Five standard errors of the draws, and losses of 6 nats to 1e-5 at each of 23 positions.
                #expect(abs(value - mean) < 5 * error + 1e-3, "latent \(j), sequence \(s)")
                compared += 1
            }
            // Whatever is drawn, the shares add up to what all of them take off the loss.
            let sum = (0..<10).reduce(0.0) { $0 + found["loss_share"]![$1 * 4 + s] }
            #expect(abs(sum - (losses[0][s] - losses[1023][s])) < 1e-3)
        }
        #expect(compared > 20)
        for j in 0..<10 {
            let terms = found["loss_share"]![j * 4..<(j + 1) * 4], mean = terms.reduce(0, +) / 4
            guard fires[j].contains(true) else { continue }
            #expect(abs(found["shapley"]![j] - mean) < 1e-9)
            // With everything drawn: that of a mean.
            let error = (terms.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 12).squareRoot()
            #expect(abs(found["shapley_standard_error"]![j] - error) < 1e-9)
        }
    }

    /// Batches of two sequences each with a quadratic loss, their Shapley values [S][m], and the variances of one draw.
    private func quadratic(sequences S: Int) -> (batches: [ScoringBatch], exact: [[Double]], variances: [[Double]]) {
        var (batches, exact, variances): ([ScoringBatch], [[Double]], [[Double]]) = ([], [], [])
        for s in 0..<S / 2 {
            var batch = randomBatch(tokens: 16, latents: 12, dimensions: 6, perToken: 4, seed: UInt64(s + 1))
            (batch.firstToken, batch.firstSequence) = (16 * s, 2 * s)
            let target = Matrix(rows: 16, columns: 6)
            for i in 0..<target.count { target[i] = batch.reconstruction[i] - batch.gradient[i] }
            batches.append(QuadraticLoss(batch, target: target).asking)
            for tokens in [0..<8, 8..<16] {
                // What each latent adds to x̂, [T·d]; others are in place half of the time.
                let f = batch.codes.dense()
                let added = (0..<12).map { j in
                    tokens.flatMap { t in (0..<6).map { Double(f[t, j]) * Double(batch.decoder[j, $0]) } }
                }
                let g = tokens.flatMap { t in (0..<6).map { Double(batch.gradient[t, $0]) } }
                func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
                let others = (0..<12).map { j in (0..<12).filter { $0 != j }.map { dot(added[j], added[$0]) } }
                exact.append(
                    (0..<12).map { j in
                        -dot(added[j], g) + 0.5 * dot(added[j], added[j]) + 0.5 * others[j].reduce(0, +)
                    })
                // Each of the others is there with the probability of j's place, which is uniform.
                variances.append(
                    others.map {
                        let sum = $0.reduce(0, +)
                        return $0.reduce(0) { $0 + $1 * $1 } / 6 + sum * sum / 12
                    })
            }
        }
        return (batches, exact, variances)
    }

    @Test func `for a quadratic loss the others are there half of the time`() throws {
        let (batches, exact, variances) = quadratic(sequences: 4)
        let found = try #require(try scorer("shapley,draws=1000").accumulation).outputs(over: batches)
        for j in 0..<12 {
            for s in 0..<4 {
                // Five standard errors; the seed is fixed, so this either holds for ever or never. Rows are floats.
                let error = (variances[s][j] / 1000).squareRoot()
                #expect(
                    abs(found["loss_share"]![j * 4 + s] - exact[s][j]) < 5 * error + 1e-4,
                    "latent \(j), sequence \(s)")
            }
        }
        #expect(exact.joined().contains { abs($0) > 2 })
    }

    @Test func `some of the sequences are unbiased, and their error is that of draws and text`() throws {
        let (batches, exact, _) = quadratic(sequences: 24)
        let runs = try (0..<60).map { seed in
            try #require(try scorer("shapley,draws=0.5,seed=\(seed)").accumulation).outputs(over: batches)
        }
        for run in runs.prefix(3) {
            for j in 1..<12 {
                let (x, e, y) = (run["size"]!, run["expansion"]!, run["loss_share"]!)
                let own = (j * 24..<(j + 1) * 24).filter { e[$0] > 0 }
                #expect(own.allSatisfy { e[$0] == 2 } && (2..<22).contains(own.count))
                let ex = own.reduce(0.0) { $0 + 2 * x[$1] }, ey = own.reduce(0.0) { $0 + 2 * y[$1] }
                let mean = x[j * 24..<(j + 1) * 24].reduce(0, +) / 24
                #expect(abs(run["shapley"]![j] - mean * ey / ex) < 1e-9)
                #expect((j * 24..<(j + 1) * 24).allSatisfy { e[$0] > 0 || x[$0] == 0 || y[$0].isNaN })
            }
        }
        var (claimed, scattered) = (0.0, 0.0)
        for j in 1..<12 {
            let truth = exact.reduce(0.0) { $0 + $1[j] } / 24
            let values = runs.map { $0["shapley"]![j] }, mean = values.reduce(0, +) / 60
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 59
            // Five standard errors of the mean, and the ratio estimate's bias, a part of one error.
            #expect(abs(mean - truth) < 5 * (variance / 60).squareRoot() + 0.3 * variance.squareRoot(), "latent \(j)")
            // The text's own part of the error, of the mean of 24.
            let text = exact.reduce(0.0) { $0 + ($1[j] - truth) * ($1[j] - truth) } / 23 / 24
            scattered += variance + text
            claimed += runs.reduce(0) {
                $0 + $1["shapley_standard_error"]![j] * $1["shapley_standard_error"]![j] / 60
            }
        }
        // The text's part is of one drawing of 24 sequences, and draws of half of them share it: within a factor of 1.6.
        #expect((0.4...1.6).contains(claimed / scattered), "\(claimed / scattered)")
    }

    @Test func `within the innermost prefix the others are there from the start, and have no value`() throws {
        let splice = try GoldenSplice()
        let all = try splice.outputs(try scorer("shapley"))
        let inner = try splice.outputs(try scorer("shapley,within=prefix"))
        for j in 8..<32 where !all["shapley"]![j].isNaN { #expect(inner["shapley"]![j].isNaN, "\(j)") }
        #expect(inner["shapley"]!.prefix(8).contains { $0.isFinite && $0 != 0 })
        // The shares add up to the loss without the eight.
        let batch = try splice.pass(NaiveGradientTimesActivation(), prefix: 32).spliced.run(try splice.sample()).batch
        let f = batch.codes.dense(), rows = batch.reconstruction.copy()
        for t in 0..<96 { for j in 0..<8 { for c in 0..<48 { rows[t, c] -= f[t, j] * batch.decoder[j, c] } } }
        let without = try splice.model.losses(of: splice.tokens, residual: rows, afterLayer: 1)
        for s in 0..<4 {
            let change = (s * 24..<(s + 1) * 24).reduce(0.0) { $0 + Double(without[$1]) - Double(batch.loss[$1]) }
            let sum = (0..<8).reduce(0.0) { $0 + inner["loss_share"]![$1 * 4 + s] }
            #expect(abs(sum - change) < 1e-3)
        }
    }

    @Test func `a budget leaves sequences out, and is never exceeded`() throws {
        let splice = try GoldenSplice()
        let runs = try (0..<20).map {
            try splice.outputs(try scorer("shapley,seed=\($0)"), sequences: 1, budget: 40)
        }
        // The host would refuse more than 40.
        for run in runs { #expect(run["expansion"]!.allSatisfy { $0 == 0 || $0 > 1 }) }
        #expect(runs.contains { $0["shapley"]!.contains { $0.isFinite && $0 != 0 } })
        for setting in ["draws=0", "draws=1e7", "within=core", "seed=-1"] {
            let text = message { _ = try scorer("shapley,\(setting)") }
            #expect(text.contains(" of shapley is '"), "\(text)")
        }
    }
}
