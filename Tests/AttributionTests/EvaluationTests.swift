import Attribution
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TestSupport
import Testing

@Suite struct SplicePolicyTests {
    private let tokens = TokenBatch(ids: [5, 9, 5, 7, 8, 5, 2, 5], sequenceCount: 2, length: 4)

    /// Rows of the given norms.
    private func rows(_ norms: [Float]) -> Matrix {
        Matrix(rows: norms.count, columns: 2, norms.flatMap { [0.6 * $0, -0.8 * $0] })
    }

    @Test func firstPositionsSpecialTokensAndSinksKeepTheirOwn() {
        let x = rows([1, 2, 3, 45, 1, 2, 3, 4])
        func replaced(_ keepFirst: Int, _ special: Set<Int32>, _ sinks: Float?) -> [UInt8] {
            SplicePolicy(keepFirst: keepFirst, specialTokens: special, sinkRatio: sinks).replaced(tokens, residual: x)
        }
        #expect(replaced(0, [], nil) == [1, 1, 1, 1, 1, 1, 1, 1])
        #expect(replaced(1, [], nil) == [0, 1, 1, 1, 0, 1, 1, 1])
        #expect(replaced(2, [], nil) == [0, 0, 1, 1, 0, 0, 1, 1])
        #expect(replaced(4, [], nil) == [0, 0, 0, 0, 0, 0, 0, 0])
        #expect(replaced(0, [5, 2], nil) == [0, 1, 0, 1, 1, 0, 0, 0])
        // The median norm is 3: above 30 is a sink.
        #expect(replaced(0, [], 10) == [1, 1, 1, 0, 1, 1, 1, 1])
        #expect(replaced(0, [], 20) == [1, 1, 1, 1, 1, 1, 1, 1])
        #expect(replaced(1, [9], 10) == [0, 0, 1, 0, 0, 1, 1, 1])
    }

    @Test func averagesLeaveOutSpecialInputsSpecialTargetsAndLastPositions() {
        #expect(SplicePolicy(specialTokens: []).averaged(tokens) == [1, 1, 1, 0, 1, 1, 1, 0])
        #expect(SplicePolicy(specialTokens: [2]).averaged(tokens) == [1, 1, 1, 0, 1, 0, 0, 0])
        #expect(SplicePolicy(specialTokens: [9, 8]).averaged(tokens) == [0, 0, 1, 0, 0, 1, 1, 0])
    }

    @Test func paddingIsReplacedNowhereAndNoMeasureOfSinks() {
        let padded = TokenBatch(ids: [5, 9, 5, 7, 8, 5, 2, 5], counts: [2, 4], length: 4)
        #expect(SplicePolicy(specialTokens: []).averaged(padded) == [1, 0, 0, 0, 1, 1, 1, 0])
        #expect(SplicePolicy(specialTokens: [8]).averaged(padded) == [1, 0, 0, 0, 0, 1, 1, 0])
        let policy = SplicePolicy(keepFirst: 0, specialTokens: [], sinkRatio: 10)
        // The median norm of the six tokens is 2, and 3 with padding.
        let x = rows([1, 2, 90, 95, 1, 2, 25, 3])
        #expect(policy.replaced(padded, residual: x) == [1, 1, 0, 0, 1, 1, 0, 1])
        #expect(policy.replaced(tokens, residual: x) == [1, 1, 0, 0, 1, 1, 1, 1])
        let sample = SpliceSample(tokens: padded, residual: x, replaced: policy.replaced(padded, residual: x))
        #expect(sample.replacedCount == 5)
    }

    @Test func aSpliceReplacesTheRowsMarkedAndNoOthers() {
        let x = rows([1, 2, 3, 4, 5, 6, 7, 8])
        let sample = SpliceSample(tokens: tokens, residual: x, replaced: [0, 1, 1, 0, 0, 0, 1, 1])
        let spliced = sample.spliced(Matrix(rows: 8, columns: 2))
        #expect(sample.replacedCount == 4 && sample.tokenCount == 8)
        for r in 0..<8 { #expect(spliced[r, 1] == ([1, 2, 6, 7].contains(r) ? 0 : x[r, 1])) }
        #expect(x[1, 1] != 0, "the sample's own residual stays")
    }
}

/// Every number of an evaluation from its definition, with sums in Double over plain arrays. The model's losses are
/// tested elsewhere and taken as they are.
@Suite struct EvaluationTests {
    private let model: any LanguageModel
    private let samples: [SpliceSample]
    private let policy = SplicePolicy(keepFirst: 1, specialTokens: [3, 4], sinkRatio: 3)
    private let sae: SparseAutoencoder

    init() throws {
        model = try loadLanguageModel(path: fixture("models/llama"))
        let random = CounterRandom(seed: 1, purpose: .test)
        var samples: [SpliceSample] = []
        for s in 0..<3 {
            let ids = (0..<60).map { Int32(random.block(UInt64(s * 60 + $0)).x % 20) }
            samples.append(
                try SpliceSample(
                    TokenBatch(ids: ids, sequenceCount: 3, length: 20), model: model, hook: .residPost(1),
                    policy: policy))
        }
        self.samples = samples
        sae = SparseAutoencoder(dIn: 48, layout: try PrefixLayout(groups: [16, 48], coreCount: 5))
        sae.initialize(seed: 2)
        sae.encoderBias.assign(randomMatrix(1, 64, seed: 3, from: -0.3, to: 0.3))
        sae.decoderBias.assign(randomMatrix(1, 48, seed: 4, from: -0.1, to: 0.1))
        sae.inference = .threshold(0.3)
        // One of the first two core latents fires at every token, and one outside the core never does.
        for c in 0..<48 { sae.encoder[1, c] = -sae.encoder[0, c] }
        sae.encoderBias[40] = -1000
    }

    private func naiveReconstruction(_ x: Matrix) -> (codes: [[Double]], reconstruction: [[Double]]) {
        var (codes, reconstructions) = ([[Double]](), [[Double]]())
        for r in 0..<x.rows {
            var y = (0..<48).map { Double(sae.decoderBias[$0]) }
            let f = (0..<64).map { j in
                let p = (0..<48).reduce(Double(sae.encoderBias[j])) {
                    $0 + (Double(x[r, $1]) - Double(sae.decoderBias[$1])) * Double(sae.encoder[j, $1])
                }
                return p > (j < 5 ? 0 : Double(Float(0.3))) ? p : 0
            }
            for j in 0..<64 where f[j] > 0 {
                for c in 0..<48 { y[c] += f[j] * Double(sae.decoder[j, c]) }
            }
            codes.append(f)
            reconstructions.append(y)
        }
        return (codes, reconstructions)
    }

    private func meanLoss(_ residual: (SpliceSample) -> Matrix) throws -> Double {
        var (sum, count) = (0.0, 0)
        for sample in samples {
            let losses = try model.losses(of: sample.tokens, residual: residual(sample), afterLayer: 1)
            let ids = sample.tokens.ids
            for i in 0..<60
            where i % 20 != 19 && !policy.specialTokens.contains(ids[i])
                && !policy.specialTokens.contains(ids[i + 1])
            {
                sum += Double(losses[i])
                count += 1
            }
        }
        return sum / Double(count)
    }

    @Test func everyMetricIsItsDefinition() throws {
        let found = try EvaluationSet(samples, model: model, hook: .residPost(1), policy: policy).evaluate(sae)

        var (xs, ys, fs, batchOf) = ([[Double]](), [[Double]](), [[Double]](), [Int]())
        for (s, sample) in samples.enumerated() {
            let (codes, reconstruction) = naiveReconstruction(sample.residual)
            for r in 0..<60 where sample.replaced[r] != 0 {
                xs.append((0..<48).map { Double(sample.residual[r, $0]) })
                ys.append(reconstruction[r])
                fs.append(codes[r])
                batchOf.append(s)
            }
        }
        func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
        func distance(_ a: [Double], _ b: [Double]) -> Double {
            zip(a, b).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        func mean(_ rows: [[Double]]) -> [Double] {
            (0..<48).map { c in rows.reduce(0) { $0 + $1[c] } / Double(rows.count) }
        }
        func average(_ value: (Int) -> Double) -> Double { xs.indices.reduce(0) { $0 + value($1) } / Double(xs.count) }
        let center = mean(xs)
        let centers = (0..<3).map { s in mean(xs.indices.filter { batchOf[$0] == s }.map { xs[$0] }) }
        func nonzero(_ f: some Sequence<Double>) -> Double { Double(f.count { $0 > 0 }) }

        let clean = try meanLoss { $0.residual }
        let zeroed = try meanLoss { Matrix(rows: $0.residual.rows, columns: 48) }
        let spliced = try meanLoss { sample in
            let y = naiveReconstruction(sample.residual).reconstruction
            return sample.spliced(Matrix(rows: 60, columns: 48, y.flatMap { $0.map(Float.init) }))
        }

        #expect(found.tokens == xs.count && xs.count > 80 && xs.count < 160)
        let metrics: [(String, Double, Double)] = [
            ("without", found.ce_loss_without_sae, clean), ("with", found.ce_loss_with_sae, spliced),
            ("ablated", found.ce_loss_with_ablation, zeroed),
            ("score", found.ce_loss_score, (zeroed - spliced) / (zeroed - clean)),
            (
                "variance", found.explained_variance,
                1 - average { distance(xs[$0], ys[$0]) } / average { distance(xs[$0], center) }
            ),
            (
                "legacy variance", found.explained_variance_legacy ?? .nan,
                average { 1 - distance(xs[$0], ys[$0]) / distance(xs[$0], centers[batchOf[$0]]) }
            ),
            ("l0", found.l0, average { nonzero(fs[$0]) }),
            ("core l0", found.l0_core, average { nonzero(fs[$0].prefix(5)) }),
            ("other l0", found.l0_non_core, average { nonzero(fs[$0].dropFirst(5)) }),
            (
                "cosine", found.cossim,
                average { dot(xs[$0], ys[$0]) / (dot(xs[$0], xs[$0]) * dot(ys[$0], ys[$0])).squareRoot() }
            ),
            ("ratio", found.l2_ratio, average { (dot(ys[$0], ys[$0]) / dot(xs[$0], xs[$0])).squareRoot() }),
            (
                "bias", found.relative_reconstruction_bias ?? .nan,
                average { dot(ys[$0], ys[$0]) } / average { dot(xs[$0], ys[$0]) }
            ),
            (
                "alive", found.frac_alive,
                Double((0..<64).count { j in fs.contains { $0[j] > 0 } }) / 64
            ),
        ]
        // Codes and x̂ are in single precision: 2e-5, and 1e-3 where a difference of losses divides. The SAE is random,
        // so the numbers are of order 1.
        for (name, value, expected) in metrics {
            let tolerance = name == "score" ? 1e-3 : 2e-5
            #expect(isNear(value, expected, within: tolerance), "\(name): \(value), \(expected)")
        }
        #expect(found.frac_alive < 1 && found.l0_core > 0 && found.l0_non_core > 0)
    }

    @Test func aPerfectSAEScoresOne() throws {
        // 48 pairs of latents ± one axis each: f = the parts of x, x̂ = x.
        let perfect = SparseAutoencoder(dIn: 48, layout: try PrefixLayout(groups: [96]))
        for c in 0..<48 {
            for (j, sign) in [(2 * c, Float(1)), (2 * c + 1, -1)] {
                perfect.encoder[j, c] = sign
                perfect.decoder[j, c] = sign
            }
        }
        perfect.inference = .threshold(0)
        let found = try EvaluationSet(samples, model: model, hook: .residPost(1), policy: policy).evaluate(perfect)
        #expect(found.ce_loss_score == 1 && found.explained_variance == 1 && found.l2_ratio == 1)
        #expect(abs(found.cossim - 1) < 1e-12 && found.relative_reconstruction_bias == 1 && found.l0 == 48)
    }
}
