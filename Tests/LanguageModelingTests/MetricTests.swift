import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// Metrics other than the loss, and backward rules other than the derivative.
struct MetricTests {
    /// A recorded model, its tokens and the stream that was spliced into it.
    private struct Recorded {
        let model: any LanguageModel
        let batch: TokenBatch
        let x: Matrix
        let layer: Int
        var hook: HookPoint { .residPost(layer) }

        init(_ name: String) throws {
            let io = try SafetensorsFile(path: fixture("models/\(name)/io.safetensors"))
            let shape = try io.require("input_ids").shape
            model = try loadLanguageModel(path: fixture("models/\(name)"))
            batch = TokenBatch(
                ids: try io.integers("input_ids").map(Int32.init), sequenceCount: shape[0], length: shape[1])
            x = try io.matrix("splice.x")
            layer = Int(try io.integers("splice.layer")[0])
        }

        func values(_ metric: TokenMetric, _ x: Matrix? = nil) throws -> [Float] {
            try model.values(of: batch, residual: x ?? self.x, at: hook, metric: metric)
        }

        func gradient(
            _ metric: TokenMetric, weights: [Float]? = nil, rule: BackwardRule = .plain
        ) throws -> (values: [Float], gradient: Matrix) {
            try model.valuesAndGradient(
                of: batch, residual: x, at: hook, metric: metric, weights: weights, rule: rule)
        }
    }

    @Test(arguments: ["llama", "gemma2"], [false, true])
    func `RelP's gradients are those of the recorded backward passes`(name: String, pattern: Bool) throws {
        let recorded = try Recorded(name)
        let golden = try SafetensorsFile(path: fixture("models/\(name)/relp.safetensors"))
        let rule: BackwardRule = pattern ? [.relp, .constantAttention] : .relp
        let (losses, gradient) = try recorded.gradient(.loss, rule: rule)
        #expect(
            try losses == recorded.model.losses(of: recorded.batch, residual: recorded.x, at: recorded.hook))
        let expected = try golden.doubles(pattern ? "f64.relp_pattern.grad" : "f64.relp.grad")
        // Recorded gradients are of the mean loss. As for the plain gradient: 1e-4 of its norm.
        let count = Float(recorded.batch.sequenceCount * (recorded.batch.length - 1))
        #expect(relativeDifference(gradient.values.map { $0 / count }, expected) < 1e-4)
        // The rules matter: the derivative is far from it.
        let plain = try recorded.gradient(.loss).gradient
        #expect(relativeDifference(plain.values.map { $0 / count }, expected) > 1e-2)
    }

    @Test(arguments: ["llama", "gemma2", "gemma3", "gpt2", "qwen3", "gpt_neox"])
    func `the derivative under no rule is that of the loss, bit for bit, and constant attention is another`(
        name: String
    )
        throws
    {
        let model = try loadLanguageModel(path: fixture("models/" + name))
        let batch = TokenBatch(ids: (0..<48).map { Int32($0 * 37 % 200) }, sequenceCount: 2, length: 24)
        let x = try model.residual(of: batch, at: .residPost(0))
        let plain = try model.lossesAndGradient(of: batch, residual: x, at: .residPost(0))
        func gradient(_ rule: BackwardRule, _ weights: [Float]? = nil) throws -> [Float] {
            try model.valuesAndGradient(
                of: batch, residual: x, at: .residPost(0), metric: .loss, weights: weights, rule: rule
            ).gradient.values
        }
        #expect(try gradient(.plain) == plain.gradient.values)
        // Doubled weights double every product exactly.
        #expect(try gradient(.plain, [Float](repeating: 2, count: 48)) == plain.gradient.values.map { 2 * $0 })
        let rules: [BackwardRule] = [.plain, .constantNorms, .linearPerceptrons, .constantAttention, .relp]
        let found = try rules.map { try gradient($0) }
        #expect(found.allSatisfy { $0.allSatisfy(\.isFinite) })
        #expect(Set(found).count == rules.count)
    }

    @Test(arguments: [Norm.Kind.rootMeanSquare, .layer])
    func `a norm that divides by a constant is linear, but for its mean`(kind: Norm.Kind) {
        let (rows, d) = (3, 21)
        let x = noise(rows * d, seed: 1), weight = noise(d, seed: 2), dy = noise(rows * d, seed: 3)
        let norm = Norm(kind, weight: Matrix(vector: weight), epsilon: 0.05)
        let input = Matrix(rows: rows, columns: d, x), gradient = Matrix(rows: rows, columns: d, dy)
        let dx = Matrix(rows: rows, columns: d)
        norm.addBackward(input.elements, gradient.elements, rows: rows, to: dx.elements, isConstant: true)
        var expected: [Double] = []
        for r in 0..<rows {
            let row = (0..<d).map { Double(x[r * d + $0]) }
            let mean = kind == .layer ? row.reduce(0, +) / Double(d) : 0
            let scale = 1 / (row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(d) + 0.05).squareRoot()
            let g = (0..<d).map { Double(weight[$0]) * Double(dy[r * d + $0]) * scale }
            expected += g.map { $0 - (kind == .layer ? g.reduce(0, +) / Double(d) : 0) }
        }
        // In Double but for what goes in and out: 1e-6.
        #expect(relativeDifference(dx.values, expected) < 1e-6)
        extendLifetime((input, gradient))
    }

    @Test func `values are those that logits give`() throws {
        for name in ["llama", "gemma2"] {
            let recorded = try Recorded(name)
            let (model, batch, hook) = (recorded.model, recorded.batch, recorded.hook)
            let own = try model.residual(of: batch, at: hook)
            let spliced = try model.logits(of: batch, residual: recorded.x, at: hook)
            let unspliced = try model.logits(of: batch, residual: own, at: hook)
            func logProbabilities(_ logits: Matrix, _ r: Int) -> [Double] {
                let row = (0..<logits.columns).map { Double(logits[r, $0]) }, maximum = row.max()!
                let sum = log(row.reduce(0) { $0 + exp($1 - maximum) }) + maximum
                return row.map { $0 - sum }
            }
            let divergences = try recorded.values(.divergence(from: own))
            let differences = try recorded.values(.logitDifference(5, 9))
            for r in 0..<batch.tokenCount {
                let (p0, p1) = (logProbabilities(unspliced, r), logProbabilities(spliced, r))
                let divergence = zip(p0, p1).reduce(0) { $0 + exp($1.0) * ($1.0 - $1.1) }
                // Logits agree to 1e-5 of the largest, about 10; a divergence is a mean of their differences.
                #expect(abs(Double(divergences[r]) - divergence) < 1e-4 * max(1, divergence))
                #expect(abs(differences[r] - (spliced[r, 5] - spliced[r, 9])) < 1e-4)
            }
            #expect(try recorded.values(.divergence(from: own), own).allSatisfy { $0 == 0 })
            let loss = try recorded.values(.loss)
            #expect(try loss == model.losses(of: batch, residual: recorded.x, at: hook))
        }
    }

    @Test(arguments: ["llama", "gemma2"])
    func `gradients are the slopes of weighted values`(name: String) throws {
        let recorded = try Recorded(name)
        let (model, batch, hook) = (recorded.model, recorded.batch, recorded.hook)
        let d = model.configuration.dModel
        let weights = noise(batch.tokenCount, seed: 4)
        let direction = noise(d, seed: 5), step = noise(recorded.x.count, seed: 6)
        let own = try model.residual(of: batch, at: hook)
        let last = model.configuration.layerCount - 1
        for metric: TokenMetric in [
            .loss, .divergence(from: own), .logitDifference(5, 9), .direction(direction, layer: last),
            .direction(direction, layer: recorded.layer),
        ] {
            let gradient = try recorded.gradient(metric, weights: weights).gradient
            let slope = zip(gradient.values, step).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
            func total(_ size: Float) throws -> Double {
                let x = recorded.x.copy()
                for i in 0..<x.count { x[i] += size * step[i] }
                return zip(try recorded.values(metric, x), weights).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
            }
            let h: Float = 1e-2
            let found = try (total(h) - total(-h)) / Double(2 * h)
            // The difference has the third derivative's 1e-4 and single precision's rounding over 1e-2; a wrong term shows
            // as more than a tenth.
            let size = zip(gradient.values, step).reduce(0.0) { $0 + Double(abs($1.0 * $1.1)) }
            #expect(abs(found - slope) < 3e-3 * size, "\(name) \(metric): \(found) and \(slope)")
        }
    }

    @Test func `a direction at the hook point itself is read off x`() throws {
        let recorded = try Recorded("llama")
        let direction = noise(48, seed: 7)
        let (values, gradient) = try recorded.gradient(.direction(direction, layer: recorded.layer))
        for r in 0..<values.count {
            let expected = (0..<48).reduce(0.0) { $0 + Double(recorded.x[r, $1]) * Double(direction[$1]) }
            #expect(abs(Double(values[r]) - expected) < 1e-4)
            #expect((0..<48).allSatisfy { gradient[r, $0] == direction[$0] })
        }
    }

    @Test(arguments: ["llama", "gemma2", "gpt2"])
    func `rows of the head and what the final norm divides by give the logits`(name: String) throws {
        let model = try loadLanguageModel(path: fixture("models/" + name))
        let batch = TokenBatch(ids: (0..<20).map { Int32($0 * 37 % 200) }, sequenceCount: 2, length: 10)
        let top = HookPoint.residPost(model.configuration.layerCount - 1)
        let h = try model.residual(of: batch, at: top)
        let scales = try model.finalScales(of: batch, residual: h, at: top)
        let rows = try model.headRows([3, 11, -1])
        let logits = try model.logits(of: batch, residual: h, at: top)
        let d = model.configuration.dModel, cap = 4.0
        for r in 0..<batch.tokenCount {
            func direct(_ i: Int) -> Double {
                (0..<d).reduce(0.0) { $0 + Double(h[r, $1]) * Double(rows[i, $1]) } / Double(scales[r])
            }
            // Gemma2 caps its logits: what was before the cap is compared.
            func uncapped(_ r: Int, _ token: Int) -> Double {
                let logit = Double(logits[r, token])
                return name == "gemma2" ? cap * atanh(logit / cap) : logit
            }
            // A bias of the final norm adds the same to a logit at every token.
            let found = uncapped(r, 3) - uncapped(r, 11) - (uncapped(0, 3) - uncapped(0, 11))
            func relative(_ r: Int) -> Double {
                (0..<d).reduce(0.0) { $0 + Double(h[r, $1]) * Double(rows[0, $1] - rows[1, $1]) } / Double(scales[r])
            }
            // Logits of the small models are below 10, to 1e-5 of that; the cap's inverse magnifies it a few times.
            #expect(abs(found - (relative(r) - relative(0))) < 1e-3, "\(name) token \(r)")
            if name == "llama" {
                let mean = (0..<logits.columns).reduce(0.0) { $0 + Double(logits[r, $1]) } / Double(logits.columns)
                #expect(abs(direct(2) - mean) < 1e-4)
            }
        }
    }

    @Test func `padding has no values and no gradients`() throws {
        let model = try loadLanguageModel(path: fixture("models/llama"))
        let batch = TokenBatch(ids: (0..<16).map { Int32($0 * 37 % 200) }, counts: [8, 3], length: 8)
        let x = try model.residual(of: batch, at: .residPost(0))
        for metric: TokenMetric in [
            .logitDifference(1, 2), .direction(noise(48, seed: 1), layer: 1), .divergence(from: x),
        ] {
            let (values, gradient) = try model.valuesAndGradient(
                of: batch, residual: x, at: .residPost(0), metric: metric, weights: nil, rule: .plain)
            for r in 11..<16 {
                #expect(values[r] == 0 && (0..<48).allSatisfy { gradient[r, $0] == 0 })
            }
        }
    }

    @Test func `what the model does not have is refused by name`() throws {
        let recorded = try Recorded("llama")
        #expect(
            message { _ = try recorded.values(.logitDifference(1, 320)) }
                == "there is no token 320; the vocabulary has 320")
        #expect(
            message { _ = try recorded.values(.direction(noise(48, seed: 1), layer: 0)) }
                == "a direction after layer 0 says nothing; the layers from the hook point on are \(recorded.layer) to 2"
        )
        #expect(message { _ = try recorded.model.headRows([-2]) } == "there is no token -2; the vocabulary has 320")
    }
}
