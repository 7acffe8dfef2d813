import Glibc
import LanguageModeling
import LinearAlgebra
import SyntheticFeatures
import TensorFiles
import TestSupport
import Testing

/// A world of known features against what its settings promise.
@Suite struct SyntheticWorldTests {
    private func settings(_ change: (inout SyntheticSettings) -> Void = { _ in }) -> SyntheticSettings {
        var settings = SyntheticSettings()
        (settings.features, settings.width, settings.vocabulary, settings.context) = (96, 24, 20, 32)
        (settings.firing, settings.promoted) = (6, 3)
        change(&settings)
        return settings
    }

    private let hook = HookPoint.residPost(0)

    private func batch(_ model: SyntheticModel, rows: Range<Int>) -> TokenBatch {
        TokenBatch(
            ids: model.sample(rows: rows), sequenceCount: rows.count, length: model.configuration.contextLength)
    }

    /// z of every feature at every position, found again from x: with fewer features than dimensions z is what solves x − b = Σ z d.
    private func magnitudes(_ model: SyntheticModel, _ x: Matrix) -> Matrix {
        let (n, d) = (model.world.directions.rows, x.columns)
        // The gradient of ½‖x − b − zD‖² in Double, by conjugate directions one after the other (Gauss–Seidel), to convergence.
        let gram = (0..<n).map { i in
            (0..<n).map { j in
                (0..<d).reduce(0.0) {
                    $0 + Double(model.world.directions[i, $1]) * Double(model.world.directions[j, $1])
                }
            }
        }
        let result = Matrix(rows: x.rows, columns: n)
        for r in 0..<x.rows {
            let along = (0..<n).map { i in
                (0..<d).reduce(0.0) {
                    $0 + Double(model.world.directions[i, $1]) * Double(x[r, $1] - model.world.bias[$1])
                }
            }
            var z = [Double](repeating: 0, count: n)
            for _ in 0..<400 {
                for i in 0..<n {
                    let others = (0..<n).reduce(0.0) { $0 + ($1 == i ? 0 : gram[i][$1] * z[$1]) }
                    z[i] = along[i] - others
                }
            }
            for i in 0..<n { result[r, i] = Float(z[i]) }
        }
        return result
    }

    /// Frequencies, magnitudes and parents are those of the settings. Bounds are four standard errors of 12,000 positions, and no more
    /// than one in ten thousand such tests would fail by chance; positions of a sequence are independent but for rare repetitions.
    @Test func featuresFireAsOftenAndAsStronglyAsTheSettingsSay() throws {
        let model = SyntheticModel(
            try SyntheticWorld(
                settings {
                    ($0.features, $0.width, $0.firing, $0.hierarchy, $0.zipf) = (12, 40, 2.5, 0.6, 0.7)
                    $0.topics = 3
                }))
        let world = model.world
        #expect(abs(world.probabilities.reduce(0, +) - 2.5) < 1e-9 && world.probabilities.allSatisfy { $0 <= 0.5 })
        let text = batch(model, rows: 0..<400)
        let z = magnitudes(model, try model.residual(of: text, at: hook))
        // The first positions of a sequence have few contexts, which come again and again.
        let rows = (0..<z.rows).filter { $0 % 32 >= 2 }
        let n = Double(rows.count)
        var (sum, squares, count) = (0.0, 0.0, 0.0)
        for i in 0..<12 {
            let fires = rows.filter { z[$0, i] > 0.05 }
            let p = world.probabilities[i]
            #expect(abs(Double(fires.count) / n - p) < 4 * (p * (1 - p) / n).squareRoot(), "feature \(i)")
            if let parent = world.parents[i] {
                #expect(parent < i && fires.allSatisfy { z[$0, parent] > 0.05 }, "\(i) without its parent")
            }
            for row in fires {
                sum += Double(z[row, i])
                squares += Double(z[row, i]) * Double(z[row, i])
                count += 1
            }
            #expect(rows.allSatisfy { z[$0, i] > 0.0999 || abs(z[$0, i]) < 1e-4 }, "neither fires nor is silent")
        }
        #expect(world.parents.contains { $0 != nil } && world.parents.contains { $0 == nil })
        let mean = sum / count
        #expect(abs(mean - 1) < 4 * 0.25 / count.squareRoot())
        #expect(abs((squares / count - mean * mean).squareRoot() - 0.25) < 0.01)
    }

    /// Of two features with correlated normals both fire more often than by chance, of two topics as often.
    @Test func featuresOfATopicFireTogether() throws {
        let model = SyntheticModel(
            try SyntheticWorld(
                settings {
                    ($0.features, $0.width, $0.firing, $0.hierarchy) = (12, 40, 3, 0)
                    ($0.topics, $0.zipf, $0.correlation) = (2, 0, 0.8)
                }))
        let z = magnitudes(model, try model.residual(of: batch(model, rows: 0..<200), at: hook))
        let rows = (0..<z.rows).filter { $0 % 32 >= 2 }
        var shares: [Double] = []
        for i in 0..<12 {
            for j in 0..<i {
                shares.append(Double(rows.count { z[$0, i] > 0.05 && z[$0, j] > 0.05 }) / Double(rows.count))
            }
        }
        // 1/16 by chance; of correlated ones at a correlation of .8 a bivariate normal has .169 above both quartiles.
        #expect(shares.allSatisfy { abs($0 - 0.0625) < 0.015 || abs($0 - 0.169) < 0.015 }, "\(shares)")
        #expect(shares.contains { $0 < 0.1 } && shares.contains { $0 > 0.1 })
    }

    /// Of text drawn from the model the mean loss is its entropy: both are means of −log p, one of the tokens that came, one over all.
    @Test func textIsDrawnByTheModelsOwnProbabilities() throws {
        let model = SyntheticModel(try SyntheticWorld(settings()))
        let text = batch(model, rows: 0..<200)
        let x = try model.residual(of: text, at: hook)
        let losses = try model.losses(of: text, residual: x, at: hook)
        let logits = try model.logits(of: text, residual: x, at: hook)
        var (entropy, variance, loss, count) = (0.0, 0.0, 0.0, 0.0)
        for (row, target) in text.targets.enumerated() where target >= 0 {
            let l = (0..<20).map { Double(logits[row, $0]) }
            let sum = l.reduce(0) { $0 + exp($1) }
            let p = l.map { exp($0) / sum }
            let surprise = p.map { -log($0) }
            let own = zip(p, surprise).reduce(0.0) { $0 + $1.0 * $1.1 }
            entropy += own
            variance += zip(p, surprise).reduce(0.0) { $0 + $1.0 * ($1.1 - own) * ($1.1 - own) }
            loss += Double(losses[row])
            count += 1
            // Single precision of logits up to 30.
            let exact = -log(p[Int(target)])
            #expect(abs(Double(losses[row]) - exact) < 1e-4)
        }
        #expect(abs(loss - entropy) < 4 * variance.squareRoot(), "\(loss / count), \(entropy / count)")
        #expect(entropy / count < log(20.0) - 0.1, "the features decide something")
        expectSame(model.sample(rows: 3..<5), Array(text.ids[96..<160]), "rows have numbers")
    }

    /// x is b and the features that are said to fire, by their magnitudes.
    @Test func activationsAreTheSumsOfWhatFires() throws {
        let model = SyntheticModel(try SyntheticWorld(settings()))
        let text = batch(model, rows: 0..<3), world = model.world
        let x = try model.residual(of: text, at: hook), firing = model.firings(of: text)
        #expect(firing.offsets.count == 97 && firing.offsets[96] == firing.features.count)
        for p in 0..<96 {
            var row = (0..<24).map { Double(world.bias[$0]) }
            for e in firing.offsets[p]..<firing.offsets[p + 1] {
                for c in 0..<24 {
                    row[c] += Double(firing.magnitudes[e]) * Double(world.directions[firing.features[e], c])
                }
            }
            // Sums of a dozen terms in single precision.
            #expect((0..<24).allSatisfy { abs(Double(x[p, $0]) - row[$0]) < 1e-5 }, "position \(p)")
        }
    }

    @Test func theGradientIsTheLossesDifference() throws {
        let model = SyntheticModel(try SyntheticWorld(settings()))
        let text = batch(model, rows: 0..<2)
        let x = randomMatrix(64, 24, seed: 5, from: -1, to: 1)
        let (losses, gradient) = try model.lossesAndGradient(of: text, residual: x, at: hook)
        expectSame(losses, try model.losses(of: text, residual: x, at: hook), "losses alone")
        for (row, c) in (0..<64).map({ ($0, $0 * 5 % 24) }) {
            func total(_ step: Float) throws -> Double {
                let other = x.copy()
                other[row, c] += step
                return try model.losses(of: text, residual: other, at: hook).reduce(0) { $0 + Double($1) }
            }
            // Of losses of 10 that are off by their last bit, over a step of 0.004; no threshold lies within it.
            let difference = (try total(0.002) - total(-0.002)) / 0.004
            #expect(abs(difference - Double(gradient[row, c])) < 2e-3, "row \(row), column \(c): \(difference)")
        }
        #expect((0..<24).allSatisfy { gradient[31, $0] == 0 && gradient[63, $0] == 0 }, "last positions have no target")
    }

    @Test func everyMetricHasItsSlopesAndPaddingHasNone() throws {
        let model = SyntheticModel(try SyntheticWorld(settings()))
        let ids = model.sample(rows: 0..<2)
        let text = TokenBatch(ids: ids, counts: [32, 20], length: 32)
        let x = randomMatrix(64, 24, seed: 5, from: -1, to: 1), own = try model.residual(of: text, at: hook)
        let u = (0..<24).map { x[7, $0] }, weights = (0..<64).map { Float($0) / 32 - 1 }
        for metric: TokenMetric in [
            .loss, .divergence(from: own), .logitDifference(3, 11), .direction(u, layer: 0),
        ] {
            let (values, gradient) = try model.valuesAndGradient(
                of: text, residual: x, at: hook, metric: metric, weights: weights, rule: .plain)
            expectSame(values, try model.values(of: text, residual: x, at: hook, metric: metric), "values alone")
            for (row, c) in (0..<52).map({ ($0, $0 * 5 % 24) }) {
                func value(_ step: Float) throws -> Double {
                    let other = x.copy()
                    other[row, c] += step
                    return Double(try model.values(of: text, residual: other, at: hook, metric: metric)[row])
                }
                // Of values of 10 that are off by their last bit, over a step of 0.004; no threshold lies within it.
                let difference = Double(weights[row]) * (try value(0.002) - value(-0.002)) / 0.004
                #expect(abs(difference - Double(gradient[row, c])) < 2e-3, "row \(row), column \(c): \(difference)")
            }
            for row in 52..<64 { #expect(values[row] == 0 && (0..<24).allSatisfy { gradient[row, $0] == 0 }) }
        }
        let divergences = try model.values(of: text, residual: own, at: hook, metric: .divergence(from: own))
        #expect(divergences.allSatisfy { $0 == 0 })
    }

    /// RelP takes a reading for z times the constant a(z)/z: in Double, term by term. Norms and attention are not there.
    @Test func relPTakesReadingsForProductsWithConstants() throws {
        let model = SyntheticModel(try SyntheticWorld(settings()))
        let (text, x, world) = (batch(model, rows: 0..<2), randomMatrix(64, 24, seed: 5, from: -1, to: 1), model.world)
        func gradient(_ rule: BackwardRule) throws -> Matrix {
            try model.valuesAndGradient(
                of: text, residual: x, at: hook, metric: .logitDifference(3, 11), weights: nil, rule: rule
            ).gradient
        }
        let (found, threshold) = (try gradient(.relp), world.settings.threshold)
        var expected: [Double] = []
        for r in 0..<64 {
            var row = [Double](repeating: 0, count: 24)
            for i in 0..<world.readers.rows {
                let z = (0..<24).reduce(0.0) { $0 + Double(world.readers[i, $1]) * Double(x[r, $1] - world.bias[$1]) }
                guard z > threshold else { continue }
                let slope = Double(world.promotions[3, i] - world.promotions[11, i])
                for c in 0..<24 {
                    row[c] += slope * (z - threshold) / (1 - threshold) / z * Double(world.readers[i, c])
                }
            }
            expected += row
        }
        // Products of single precision.
        #expect(relativeDifference(found.values, expected) < 1e-5)
        expectSame(
            try gradient([.constantNorms, .constantAttention]).values, try gradient(.plain).values, "no such parts")
        #expect(try gradient(.plain).values != found.values)
        for body in [
            { _ = try model.headRows([1]) }, { _ = try model.finalScales(of: text, residual: x, at: hook) },
        ] as [() throws -> Void] { #expect(throws: LanguageModelError.noHead, performing: body) }
    }

    @Test func aSuffixRunAgainHasTheLossesOfItsRows() throws {
        let model = SyntheticModel(try SyntheticWorld(settings()))
        let text = batch(model, rows: 0..<2)
        let x = randomMatrix(64, 24, seed: 4, from: -1, to: 1)
        let all = try model.losses(of: text, residual: x, at: hook)
        var found = [Float](repeating: .nan, count: 10 + 32)
        try found.withUnsafeMutableBufferPointer {
            try model.replay(of: text, residual: x, at: hook).losses(
                of: [
                    SequenceSuffix(sequence: 1, first: 22, residual: x.row(54)),
                    SequenceSuffix(sequence: 0, first: 0, residual: x.row(0)),
                ], into: $0.baseAddress!)
        }
        // Products of other numbers of rows round differently in their last bit.
        #expect(relativeDifference(found, (all[54...] + all[..<32]).map(Double.init)) < 1e-6)
        extendLifetime(x)
    }

    @Test func settingsThatMeanNothingAreRefusedByName() throws {
        let folder = TemporaryFolder()
        func said(_ text: String) throws -> String {
            try AtomicFile.write(text, to: folder.file("synthetic.json"))
            return message { _ = try SyntheticModel(path: folder.path) }
        }
        let file = folder.file("synthetic.json")
        #expect(
            try said(#"{"feature": 3}"#).hasPrefix("\(file): there is no setting feature; they are seed, features, "))
        #expect(
            try said(#"{"features": 0}"#)
                == "\(file): features is 0, and must be a whole number from 1.0 to 65536.0")
        #expect(try said(#"{"features": 2.5}"#).contains("features is 2.5, and must be a whole number"))
        #expect(try said(#"{"firing": "many"}"#).contains("firing is \"many\", and must be a number"))
        #expect(try said(#"{"promoted": 65}"#).contains("promoted is 65, and must be no more than the vocabulary's 64"))
        #expect(
            try said(#"{"firing": 300}"#).contains("firing is 300.0, and must be no more than half of the 512 features")
        )
        #expect(try said("[]").contains("the file is no object"))
        try AtomicFile.write(settings().text, to: file)
        #expect(try SyntheticModel(path: folder.path).world.settings == settings())
    }

    @Test func placesThatItDoesNotHaveAreRefused() throws {
        let model = SyntheticModel(try SyntheticWorld(settings()))
        let text = batch(model, rows: 0..<1)
        #expect(throws: LanguageModelError.layerOutOfRange(layer: 1, layerCount: 1)) {
            try model.residual(of: text, at: .residPost(1))
        }
        #expect(throws: SyntheticError.noSuchPlace("blocks.0.hook_mlp_out")) {
            try model.residual(of: text, at: HookPoint(block: 0, .mlpOut))
        }
        #expect(throws: LanguageModelError.tokenOutOfRange(id: 20, position: 1, vocabularySize: 20)) {
            try model.residual(of: TokenBatch([1, 20]), at: hook)
        }
        #expect(throws: LanguageModelError.sequenceTooLong(length: 33, contextLength: 32)) {
            try model.residual(
                of: TokenBatch(ids: [Int32](repeating: 0, count: 33), sequenceCount: 1, length: 33), at: hook)
        }
    }
}
