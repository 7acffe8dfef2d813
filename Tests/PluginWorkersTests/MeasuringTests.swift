import Attribution
import LanguageModeling
import LinearAlgebra
import PluginHost
import PluginTestSupport
import PluginWorkers
import TestSupport
import Testing

/// Metrics, rules and the head on request, in this process and in a worker, against the model asked directly.
struct MeasuringTests {
    let services = Services()
    let folder = TemporaryFolder()

    private func scores(_ what: String, isIsolated: Bool, budget: Int? = nil) throws -> [Float] {
        let splice = try GoldenSplice()
        let scorer = try PluginCatalog(executableFolder: "/nowhere").scorer(
            fixturePlugin("measuring.c", in: folder) + ",what=\(what)", services: services.value,
            isolation: isIsolated ? PluginIsolation(executable: builtProgram) : nil)
        return try splice.pass(scorer, prefix: 8, budget: budget).score(try splice.sample(keepFirst: 1)).values
    }

    /// The spliced batch, as a scorer sees it.
    private struct Batch {
        let splice: GoldenSplice
        let sample: SpliceSample
        let scores: ScoringPass.Scores
        let decoder: Matrix
        /// x̂ where it was spliced in.
        let spliced: Matrix

        init() throws {
            splice = try GoldenSplice()
            sample = try splice.sample(keepFirst: 1)
            decoder = try splice.sae().decoder
            scores = try splice.pass(NaiveGradientTimesActivation(), prefix: 8).score(sample)
            spliced = sample.spliced(scores.reconstruction)
        }

        func values(_ metric: TokenMetric, _ residual: Matrix) throws -> [Float] {
            try splice.model.values(of: splice.tokens, residual: residual, at: .residPost(1), metric: metric)
        }

        /// −a⟨g, w⟩ at each entry.
        func byGradient(_ metric: TokenMetric, weights: [Float]? = nil, _ rule: BackwardRule = .plain) throws
            -> [Double]
        {
            let g = try splice.model.valuesAndGradient(
                of: splice.tokens, residual: spliced, at: .residPost(1), metric: metric, weights: weights, rule: rule
            ).gradient
            return entries { t, j, a in
                -Double(a) * (0..<48).reduce(0.0) { $0 + Double(g[t, $1]) * Double(decoder[j, $1]) }
            }
        }

        /// The change of Σ v·m where an activation alone is 0.
        func byChange(_ metric: TokenMetric, weights: [Float]? = nil, first: Int) throws -> [Double] {
            let before = try values(metric, spliced)
            return try entries(first: first) { t, j, a in
                let edited = spliced.copy()
                for i in 0..<48 { edited[t, i] -= a * decoder[j, i] }
                let after = try values(metric, edited)
                return after.indices.reduce(0.0) {
                    $0 + Double(weights?[$1] ?? 1) * (Double(after[$1]) - Double(before[$1]))
                }
            }
        }

        func entries(first: Int = .max, _ body: (Int, Int, Float) throws -> Double) rethrows -> [Double] {
            try (0..<min(first, scores.codes.count)).map { e in
                let (t, j) = scores.codes.position(of: e)
                return try body(t, j, scores.codes.values[e])
            }
        }
    }

    private static let weights = (0..<96).map { Float($0 + 1) }

    @Test(arguments: [false, true]) func `gradients of each metric under each rule`(isIsolated: Bool) throws {
        let batch = try Batch()
        let own = batch.sample.residual
        let direction = TokenMetric.direction((0..<48).map { batch.decoder[0, $0] }, layer: 2)
        let cases: [(String, TokenMetric, [Float]?, BackwardRule)] = [
            ("relp", .loss, nil, .relp), ("relp-pattern", .loss, nil, [.relp, .constantAttention]),
            ("attention-only", .loss, nil, .constantAttention), ("divergence", .divergence(from: own), nil, .plain),
            ("difference-path", .logitDifference(5, 9), nil, .plain), ("direction", direction, Self.weights, .plain),
            ("weighted", .loss, Self.weights, .plain), ("weighted-path", .loss, Self.weights, .plain),
        ]
        var all: [[Double]] = []
        for (what, metric, weights, rule) in cases {
            let expected = try batch.byGradient(metric, weights: weights, rule)
            // Of single precision, a sum over 48 numbers: 1e-5 of the largest score.
            checkClose(try scores(what, isIsolated: isIsolated), expected, tolerance: 1e-5, what)
            all.append(expected)
        }
        #expect(Set(all.prefix(3)).count == 3)
    }

    @Test(arguments: [false, true]) func `changes of each metric`(isIsolated: Bool) throws {
        let batch = try Batch()
        let direction = TokenMetric.direction((0..<48).map { batch.decoder[0, $0] }, layer: 2)
        for (what, metric, weights) in [
            ("divergence-change", .divergence(from: batch.sample.residual), nil),
            ("difference-change", .logitDifference(5, 9), nil), ("direction-change", direction, Self.weights),
            ("weighted-change", .loss, Self.weights),
        ] as [(String, TokenMetric, [Float]?)] {
            let found = try scores(what, isIsolated: isIsolated)
            let expected = try batch.byChange(metric, weights: weights, first: 12)
            // Differences of sums of 24 values in single precision, each to 1e-6 of values of up to 10, with weights of up to 24.
            let tolerance = 24 * 24 * 1e-5
            for (e, change) in expected.enumerated() {
                #expect(abs(Double(found[e]) - change) < tolerance, "\(what) \(e)")
            }
            #expect(expected.contains { abs($0) > 10 * tolerance } || what == "divergence-change")
        }
    }

    @Test(arguments: [false, true]) func `a latent's direct effect on the next token's logit`(isIsolated: Bool) throws {
        let batch = try Batch()
        let ids = batch.splice.tokens.ids
        let rows = try batch.splice.model.headRows(ids + [-1])
        let scales = try batch.splice.model.finalScales(
            of: batch.splice.tokens, residual: batch.spliced, at: .residPost(1))
        let expected = batch.entries { t, j, a in
            let next = min(t + 1, 95)
            return Double(a)
                * (0..<48).reduce(0.0) { $0 + Double(batch.decoder[j, $1]) * Double(rows[next, $1] - rows[96, $1]) }
                / Double(scales[t])
        }
        checkClose(try scores("logit", isIsolated: isIsolated), expected, tolerance: 1e-5, "logit")
    }

    @Test(arguments: [false, true]) func `what breaks a rule is refused by name`(isIsolated: Bool) throws {
        for (what, part) in [
            ("bad-kind", "dmsae.grad/2: the metric is of kind 9"), ("bad-rule", "there is no backward rule 9"),
            ("bad-size", "the metric has 8 bytes"), ("no-direction", "the metric has no direction"),
            ("bad-layer", "a direction after layer 0 says nothing; the layers from the hook point on are 1 to 2"),
            ("bad-token", "there is no token 100000; the vocabulary has 320"),
            ("bad-weight", "the metric's weights[3] is nan"), ("bad-row", "dmsae.head/1: there is no token -7"),
        ] {
            let text = message { _ = try scores(what, isIsolated: isIsolated) }
            #expect(text.contains(part) && text.contains("INVALID_ARGUMENT"), "\(text)")
        }
    }

    @Test(arguments: [false, true]) func `a point and a group take one of the budget`(isIsolated: Bool) throws {
        _ = try scores("relp", isIsolated: isIsolated, budget: 4)
        #expect(message { _ = try scores("relp", isIsolated: isIsolated, budget: 3) }.contains("BUDGET_EXHAUSTED"))
        #expect(
            message { _ = try scores("difference-change", isIsolated: isIsolated, budget: 4) }
                .contains("BUDGET_EXHAUSTED"))
    }
}
