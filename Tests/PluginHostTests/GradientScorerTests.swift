import Attribution
import LanguageModeling
import LinearAlgebra
import PluginHost
import PluginTestSupport
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Scorers that look at other gradients than the plain one, or at the head: relp, logit, expected-gradients.
struct GradientScorerTests {
    let services = Services()

    private func scorer(_ settings: String) throws -> any AttributionScorer {
        try PluginCatalog().scorer(settings, services: services.value)
    }

    // MARK: RelP

    /// A recorded model asked for gradients at whatever is put in place of its stream.
    private final class Recorded: SplicedEvaluation, @unchecked Sendable {
        let model: any LanguageModel
        let tokens: TokenBatch
        let x: Matrix
        let hook: HookPoint
        let preferredGroups = 1
        let remainingGroups: Int? = nil

        init(_ name: String) throws {
            let io = try SafetensorsFile(path: fixture("models/\(name)/io.safetensors"))
            let shape = try io.require("input_ids").shape
            model = try loadLanguageModel(path: fixture("models/\(name)"))
            tokens = TokenBatch(
                ids: try io.integers("input_ids").map(Int32.init), sequenceCount: shape[0], length: shape[1])
            x = try io.matrix("splice.x")
            hook = .residPost(Int(try io.integers("splice.layer")[0]))
        }

        /// Random codes and decoder rows, with the recorded stream as the reconstruction.
        func batch() -> ScoringBatch {
            var batch = randomBatch(tokens: x.rows, latents: 30, dimensions: x.columns, perToken: 4)
            batch.reconstruction = x
            batch.tokens = tokens.ids
            batch.sequenceOffsets = (0...tokens.sequenceCount).map { Int64($0 * tokens.length) }
            batch.documentOffsets = batch.sequenceOffsets
            batch.evaluation = self
            return batch
        }

        func gradients(at points: [GradientPoint], of metric: EvaluationMetric, rule: BackwardRule) throws -> [Double] {
            let residual = Matrix(rows: points.count * tokens.length, columns: x.columns)
            for (i, point) in points.enumerated() {
                residual.row(i * tokens.length).update(from: point.rows, count: tokens.length * x.columns)
            }
            let (values, gradient) = try model.valuesAndGradient(
                of: tokens.sequences(points.map(\.sequence)), residual: residual, at: hook, metric: .loss, weights: nil,
                rule: rule)
            for (i, point) in points.enumerated() {
                point.gradient.update(from: gradient.row(i * tokens.length), count: tokens.length * x.columns)
            }
            return points.map { _ in Double(values[0]) }
        }

        func lossChanges(_ groups: [EditGroup]) throws -> [Double] { throw AttributionError.passUnknown }
        func gradients(at points: [GradientPoint]) throws -> [Double] { throw AttributionError.passUnknown }
        func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
            throw AttributionError.passUnknown
        }
        func meanActivations() throws -> MeanActivations.Values { throw AttributionError.passUnknown }
    }

    @Test(arguments: ["llama", "gemma2"], [false, true])
    func `relp is the activation times the recorded backward pass`(name: String, pattern: Bool) throws {
        let recorded = try Recorded(name), batch = recorded.batch()
        let golden = try SafetensorsFile(path: fixture("models/\(name)/relp.safetensors"))
        let g = try golden.doubles(pattern ? "f64.relp_pattern.grad" : "f64.relp.grad")
        // Recorded gradients are of the mean loss.
        let count = Double(recorded.tokens.sequenceCount * (recorded.tokens.length - 1)), d = recorded.x.columns
        let expected = (0..<batch.codes.count).map { e in
            let (t, j) = batch.codes.position(of: e)
            return -count * Double(batch.codes.values[e])
                * (0..<d).reduce(0.0) { $0 + g[t * d + $1] * Double(batch.decoder[j, $1]) }
        }
        let found = try scorer(pattern ? "relp,pattern=detached" : "relp").scores(batch)
        // Gradients agree to 1e-4 of their norm, and so do their products with rows of one size.
        checkClose(found, expected, tolerance: 1e-4, name)
    }

    @Test func `relp is positive where the latent helps, and gradient times activation where nothing bends`() throws {
        // No norms, no products, no activations: the rules change nothing.
        let batch = randomBatch(tokens: 30, latents: 20, dimensions: 8, perToken: 4)
        let target = Matrix(rows: 30, columns: 8)
        for i in 0..<target.count { target[i] = batch.reconstruction[i] - batch.gradient[i] }
        final class Straight: SplicedEvaluation, @unchecked Sendable {
            let loss: QuadraticLoss
            let preferredGroups = 1
            let remainingGroups: Int? = nil
            init(_ loss: QuadraticLoss) { self.loss = loss }
            func lossChanges(_ groups: [EditGroup]) throws -> [Double] { try loss.lossChanges(groups) }
            func gradients(at points: [GradientPoint]) throws -> [Double] { try loss.gradients(at: points) }
            func gradients(at points: [GradientPoint], of: EvaluationMetric, rule: BackwardRule) throws -> [Double] {
                try loss.gradients(at: points)
            }
            func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
                try loss.gradients(along: paths, alphas: alphas, weights: weights)
            }
            func meanActivations() throws -> MeanActivations.Values { try loss.meanActivations() }
        }
        var asking = batch
        asking.evaluation = Straight(QuadraticLoss(batch, target: target))
        let relp = try scorer("relp").scores(asking), gxa = try scorer("gxa").scores(batch)
        let norms = (0..<20).map { j in
            (0..<8).reduce(0) { $0 + batch.decoder[j, $1] * batch.decoder[j, $1] }.squareRoot()
        }
        let expected = gxa.indices.map { gxa[$0] * norms[Int(batch.codes.columnIndices[$0])] }
        // x̂ − y is rounded once more than the gradient that it is made of: 1e-6 of values of about 1.
        checkClose(relp, expected, tolerance: 1e-5, "relp")
        #expect(relp.contains { $0 > 0 } && relp.contains { $0 < 0 })
    }

    @Test func `relp takes a pattern and nothing else`() {
        #expect(message { _ = try scorer("relp,pattern=both") }.contains("pattern of relp is 'both'; give attached"))
        #expect(message { _ = try scorer("relp,rule=2") }.contains("unknown parameter 'rule'; relp takes pattern"))
    }

    // MARK: Direct logit attribution

    @Test func `logit is the definition, and 0 where nothing comes next`() throws {
        let splice = try GoldenSplice(), sample = try splice.sample(keepFirst: 1)
        let scores = try splice.pass(try scorer("logit"), prefix: 8).score(sample)
        let decoder = try splice.sae().decoder, ids = splice.tokens.ids
        let u = try splice.model.headRows(ids + [-1])
        let scales = try splice.model.finalScales(
            of: splice.tokens, residual: sample.spliced(scores.reconstruction), at: .residPost(1))
        var expected: [Double] = []
        for e in 0..<scores.codes.count {
            let (t, j) = scores.codes.position(of: e)
            if t % 24 == 23 {
                #expect(scores.values[e] == 0)
                expected.append(0)
                continue
            }
            let dot = (0..<48).reduce(0.0) { $0 + Double(decoder[j, $1]) * (Double(u[t + 1, $1]) - Double(u[96, $1])) }
            expected.append(Double(scores.codes.values[e]) * dot / Double(scales[t]))
        }
        // Sums in Double of the same numbers, each rounded once.
        checkClose(scores.values, expected, tolerance: 1e-6, "logit")
        #expect(scores.values.count { $0 > 0 } > 20 && scores.values.count { $0 < 0 } > 20)
    }

    /// At the last block nothing comes in between: with the norm's scale as it was, taking a·w off the stream takes the score off
    /// the logit of the next token less the mean of all logits.
    @Test func `at the last block logit is what the removal takes off the next token's logit`() throws {
        let splice = try GoldenSplice()
        let last = splice.model.configuration.layerCount - 1
        let x = try splice.model.residual(of: splice.tokens, afterLayer: last)
        var batch = randomBatch(tokens: 96, latents: 20, dimensions: 48, perToken: 3)
        batch.reconstruction = x
        batch.tokens = splice.tokens.ids
        batch.sequenceOffsets = (0...4).map { $0 * 24 }
        let sigma = try splice.model.finalScales(of: splice.tokens, residual: x, at: .residPost(last))
        final class Head: SplicedEvaluation, @unchecked Sendable {
            let sigma: [Float]
            let model: any LanguageModel
            let preferredGroups = 1
            let remainingGroups: Int? = nil
            init(_ sigma: [Float], _ model: any LanguageModel) { (self.sigma, self.model) = (sigma, model) }
            func headRows(_ tokens: [Int32]) throws -> Matrix { try model.headRows(tokens) }
            func finalScales() throws -> [Float] { sigma }
            func lossChanges(_ groups: [EditGroup]) throws -> [Double] { throw AttributionError.passUnknown }
            func gradients(at points: [GradientPoint]) throws -> [Double] { throw AttributionError.passUnknown }
            func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
                throw AttributionError.passUnknown
            }
            func meanActivations() throws -> MeanActivations.Values { throw AttributionError.passUnknown }
        }
        batch.evaluation = Head(sigma, splice.model)
        let found = try scorer("logit").scores(batch)
        let before = try splice.model.logits(of: splice.tokens, residual: x, afterLayer: last)
        for e in stride(from: 0, to: batch.codes.count, by: 17) {
            let (t, j) = batch.codes.position(of: e)
            guard t % 24 != 23 else { continue }
            let edited = x.copy()
            // So that the logits of the norm with its own new scale are those with the old one.
            for i in 0..<48 { edited[t, i] -= batch.codes.values[e] * batch.decoder[j, i] }
            let after = try splice.model.logits(of: splice.tokens, residual: edited, afterLayer: last)
            let scale = Double(
                try splice.model.finalScales(of: splice.tokens, residual: edited, at: .residPost(last))[t] / sigma[t])
            func above(_ logits: Matrix, _ factor: Double) -> Double {
                let row = (0..<logits.columns).map { Double(logits[t, $0]) * factor }
                return row[Int(splice.tokens.ids[t + 1])] - row.reduce(0, +) / Double(row.count)
            }
            // Logits to 1e-6 of the largest, about 10, and a difference of two.
            #expect(abs(Double(found[e]) - (above(before, 1) - above(after, scale))) < 1e-4, "\(e)")
        }
    }

    // MARK: Expected gradients

    /// A random batch at the start of its pass, and answers about its quadratic loss.
    private func quadratic() -> QuadraticLoss {
        var batch = randomBatch(tokens: 24, latents: 14, dimensions: 6, perToken: 3)
        batch.firstToken = 0
        let target = Matrix(rows: 24, columns: 6)
        for i in 0..<target.count { target[i] = batch.reconstruction[i] - batch.gradient[i] }
        return QuadraticLoss(batch, target: target)
    }

    /// With g linear in r the mean over α is g in the middle, and the mean over baselines a sum over tokens.
    private func exact(_ batch: ScoringBatch) -> [Double] {
        let f = batch.codes.dense()
        return (0..<14).map { j in
            var sum = 0.0
            for s in 0..<2 {
                let scored = (s * 12..<(s + 1) * 12).filter { batch.scored[$0] != 0 }
                for t in scored {
                    for u in scored where u != t {
                        let difference = (0..<14).map { Double(f[t, $0]) - Double(f[u, $0]) }
                        for i in 0..<6 {
                            let away = (0..<14).reduce(0.0) { $0 + difference[$1] * Double(batch.decoder[$1, i]) }
                            let g = Double(batch.gradient[t, i]) - 0.5 * away
                            sum -= difference[j] * g * Double(batch.decoder[j, i]) / Double(scored.count - 1)
                        }
                    }
                }
            }
            return sum / 2
        }
    }

    @Test func `expected gradients come to the sum over all baselines, and know how far from it they are`() throws {
        let loss = quadratic(), truth = exact(loss.asking)
        let accumulation = try #require(try scorer("expected-gradients,draws=4096").accumulation)
        let found = try accumulation.outputs(over: [loss.asking])
        let errors = found["expected_gradients_standard_error"]!
        for j in 0..<14 {
            // Six standard errors; the seed is fixed, so this either holds for ever or never. Gradients are floats.
            #expect(abs(found["expected_gradients"]![j] - truth[j]) < 6 * errors[j] + 1e-5, "latent \(j)")
            #expect(j == 0 ? errors[j] == 0 : errors[j] > 0, "latent \(j)")
        }
        // Of few draws, many times: they scatter as they say.
        let runs = try (0..<80).map { seed in
            try #require(try scorer("expected-gradients,draws=6,seed=\(seed)").accumulation)
                .outputs(over: [loss.asking])
        }
        var (spread, claimed) = (0.0, 0.0)
        for j in 1..<14 {
            let values = runs.map { $0["expected_gradients"]![j] }, mean = values.reduce(0, +) / 80
            let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 79
            #expect(abs(mean - truth[j]) < 5 * (variance / 80).squareRoot(), "latent \(j)")
            spread += variance
            claimed += runs.reduce(0) {
                let error = $1["expected_gradients_standard_error"]![j]
                return $0 + error * error / 80
            }
        }
        // Variances of 13 latents of 80 runs: to a tenth or so.
        #expect((0.75...1.33).contains(claimed / spread), "\(claimed / spread)")
    }

    /// With a target ten thousand times as far as the path is long the gradient hardly changes on it, and with two scored tokens a
    /// sequence each is the other's baseline: nothing is left to chance.
    @Test func `where the gradient is the same all the way, expected gradients are its product with what differs`()
        throws
    {
        var batch = randomBatch(tokens: 6, latents: 14, dimensions: 6, perToken: 3)
        batch.firstToken = 0
        let target = Matrix(rows: 6, columns: 6)
        for i in 0..<target.count { target[i] = batch.reconstruction[i] - 1e4 * batch.gradient[i] }
        let found = try #require(try scorer("expected-gradients,draws=4").accumulation)
            .outputs(over: [QuadraticLoss(batch, target: target).asking])["expected_gradients"]!
        let f = batch.codes.dense()
        func product(_ t: Int, _ j: Int) -> Double {
            (0..<6).reduce(0.0) { $0 + 1e4 * Double(batch.gradient[t, $1]) * Double(batch.decoder[j, $1]) }
        }
        let expected = (0..<14).map { j in
            [(1, 2), (4, 5)].reduce(0.0) { sum, pair in
                let (t, u) = pair, difference = Double(f[t, j]) - Double(f[u, j])
                return sum - difference * (product(t, j) - product(u, j)) / 2
            }
        }
        #expect(expected.contains { abs($0) > 1e3 })
        // The path is of the order of the gradient and ten times it: a part in a thousand.
        checkClose(found, expected, tolerance: 2e-3, "a straight loss")
    }

    @Test func `expected gradients depend on the seed and a sequence's place, not on the batches`() throws {
        let splice = try GoldenSplice()
        func outputs(_ settings: String, sequences: Int) throws -> [Double] {
            try splice.outputs(try scorer(settings), sequences: sequences)["expected_gradients"]!
        }
        let whole = try outputs("expected-gradients,draws=3", sequences: 4)
        // Of x̂ and gradients in single precision, which batches of another shape round otherwise.
        checkClose(
            try outputs("expected-gradients,draws=3", sequences: 1).map(Float.init), whole, tolerance: 1e-4, "cut")
        #expect(try outputs("expected-gradients,draws=3", sequences: 4) == whole)
        #expect(try outputs("expected-gradients,draws=3,seed=1", sequences: 4) != whole)
    }

    @Test func `a budget makes draws fewer, and less than two a sequence are refused`() throws {
        let splice = try GoldenSplice()
        func outputs(_ settings: String, budget: Int?) throws -> [Double] {
            try splice.outputs(try scorer("expected-gradients" + settings), budget: budget)["expected_gradients"]!
        }
        #expect(try outputs("", budget: 15) == outputs(",draws=3", budget: nil))
        #expect(
            message { _ = try outputs("", budget: 7) }
                .contains("a budget of 7 forwards gives 4 sequences less than two draws each; give 8 or more"))
        #expect(message { _ = try scorer("expected-gradients,draws=1") }.contains("draws of expected-gradients is '1'"))
    }
}
