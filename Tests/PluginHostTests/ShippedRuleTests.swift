import Foundation
import LinearAlgebra
import PluginHost
import PluginTestSupport
import SparseCoding
import TestSupport
import Testing

/// TopK and JumpReLU: the rules, what they learn, and the form in which their SAEs are used.
struct ShippedRuleTests {
    let services = Services()

    private func rule(_ reference: String) throws -> any SparsityRule & LoadedPlugin {
        try PluginCatalog().sparsityRule(reference, services: services.value)
    }

    private func marks(_ rule: any SparsityRule, _ candidates: SparseCodes, _ context: SelectionContext) throws
        -> [UInt8]
    {
        var marks = [UInt8](repeating: 0, count: candidates.count)
        try marks.withUnsafeMutableBufferPointer { try rule.select(from: candidates, context, selected: $0) }
        return marks
    }

    private func context(
        _ mode: SelectionMode = .train, k: Double = 5, step: Int = 50, rows: Int = 60, latents: Int = 90
    )
        -> SelectionContext
    {
        SelectionContext(
            mode: mode, step: step, totalSteps: 100, batchRows: rows, latentCount: latents, meanActive: k,
            batchBudget: Int(k) * rows)
    }

    /// Candidates of few different values, so that there are ties.
    private func coarse() -> SparseCodes {
        let codes = randomBatch(tokens: 60, latents: 90, dimensions: 1, perToken: 30).codes
        for e in 0..<codes.count { codes.values[e] = (codes.values[e] * 8).rounded(.up) / 8 }
        return codes
    }

    // MARK: TopK

    @Test(arguments: [1, 5, 29, 30, 31, 1000]) func `top k keeps the naive set of every row, ties included`(k: Int)
        throws
    {
        let candidates = coarse()
        let found = try marks(try rule("topk"), candidates, context(k: Double(k)))
        for r in 0..<60 {
            let entries = Array(candidates.entries(ofRow: r))
            let kept = Set(
                entries.sorted {
                    (-candidates.values[$0], $0) < (-candidates.values[$1], $1)
                }.prefix(k))
            for e in entries { #expect((found[e] == 1) == kept.contains(e), "row \(r), entry \(e)") }
        }
        #expect(try rule("topk").upperCount(context(k: Double(k))) == min(k, 90))
    }

    @Test func `a given k overrides the training's`() throws {
        #expect(try rule("topk,k=7").upperCount(context(k: 3)) == 7)
        #expect(try marks(try rule("topk,k=7"), coarse(), context(k: 3)).reduce(0) { $0 + Int($1) } == 7 * 58)
    }

    // MARK: JumpReLU

    private func thresholds(_ value: (Int) -> Float) -> [Matrix] { [Matrix(vector: (0..<90).map(value))] }

    @Test func `jumprelu keeps what exceeds its latent's threshold`() throws {
        let candidates = coarse()
        var context = context(.infer)
        context.learnables = thresholds { Float($0 % 9) / 8 }
        let found = try marks(try rule("jumprelu"), candidates, context)
        for e in 0..<candidates.count {
            let j = Int(candidates.columnIndices[e])
            #expect((found[e] == 1) == (candidates.values[e] > Float(j % 9) / 8))
        }
    }

    @Test func `floors leave the band in, and are the thresholds when nothing trains`() throws {
        let learning = try #require(try rule("jumprelu,bandwidth=0.2").learning)
        for (mode, below) in [(SelectionMode.train, Float(0.1)), (.infer, 0)] {
            var context = context(mode)
            context.learnables = thresholds { Float($0) / 90 }
            var floors = [Float](repeating: 0, count: 90)
            try floors.withUnsafeMutableBufferPointer { try learning.floors(context, into: $0) }
            for j in 0..<90 {
                let band = Float(j) / 90 - below
                #expect(floors[j] <= band && floors[j] >= band - 1e-4)
            }
        }
    }

    @Test func `gradients and penalty are those of the paper's estimators`() throws {
        let rule = try rule("jumprelu,bandwidth=0.25,lambda=0.3,warmup=0.8")
        let learning = try #require(rule.learning)
        let candidates = randomBatch(tokens: 60, latents: 90, dimensions: 1, perToken: 30).codes
        var context = context()
        context.learnables = thresholds { 0.2 + Float($0 % 5) / 8 }
        let theta = context.learnables[0]
        let selected = try marks(rule, candidates, context)
        let code = (0..<candidates.count).map { Float($0 * 7 % 11) / 11 - 0.4 }
        var preactivation = [Float](repeating: 0, count: candidates.count)
        var gradient = [Double](repeating: 0, count: 90)
        let penalty = try selected.withUnsafeBufferPointer { selected in
            try code.withUnsafeBufferPointer { code in
                try preactivation.withUnsafeMutableBufferPointer { preactivation in
                    try gradient.withUnsafeMutableBufferPointer {
                        try learning.backward(
                            candidates, selected: selected, codeGradient: code, context,
                            preactivationGradient: preactivation, tensorGradients: [$0])
                    }
                }
            }
        }
        let active = Double(selected.reduce(0) { $0 + Int($1) }) / 60
        let weight = 0.3 * 50 / 80
        // Doubles on both sides.
        #expect(abs(penalty - weight * (active / 5 - 1) * (active / 5 - 1)) < 1e-12)
        var expected = [Double](repeating: 0, count: 90)
        for e in 0..<candidates.count {
            let j = Int(candidates.columnIndices[e]), p = Double(candidates.values[e]), t = Double(theta[j])
            #expect(preactivation[e] == (p > t ? code[e] : 0))
            guard abs(p - t) / 0.25 < 0.5 else { continue }
            expected[j] += Double(code[e]) * -t / 0.25
            expected[j] += 2 * weight * (active / 5 - 1) / 5 * -1 / (0.25 * 60)
        }
        for j in 0..<90 { #expect(abs(gradient[j] - expected[j]) < 1e-9) }
    }

    /// The rectangle of width ε is the derivative of a ramp: with f and the count smoothed so, the loss and penalty are
    /// functions of θ whose differences can be taken.
    @Test func `the threshold's gradient is the derivative of the smoothed loss`() throws {
        let (epsilon, k, rows) = (0.5, 5.0, 60)
        let rule = try rule("jumprelu,bandwidth=\(epsilon),lambda=0.3,warmup=0")
        let learning = try #require(rule.learning)
        let candidates = randomBatch(tokens: rows, latents: 90, dimensions: 1, perToken: 30).codes
        // Given ∂L/∂f = c, ∂(c·f)/∂θ by the estimator is c·θ times the derivative of the ramp.
        let j = 30
        let theta = 0.6
        var context = context(rows: rows)
        context.learnables = thresholds { _ in Float(theta) }
        let t = Double(context.learnables[0][j])
        let selected = try marks(rule, candidates, context)
        let active = Double(selected.reduce(0) { $0 + Int($1) }) / Double(rows)
        func ramp(_ p: Double, _ threshold: Double) -> Double { min(max((p - threshold) / epsilon + 0.5, 0), 1) }
        func smoothed(_ threshold: Double) -> Double {
            var sum = 0.0
            for e in 0..<candidates.count where Int(candidates.columnIndices[e]) == j {
                let p = Double(candidates.values[e])
                sum += 0.7 * t * ramp(p, threshold) + 2 * 0.3 * (active / k - 1) / k / Double(rows) * ramp(p, threshold)
            }
            return sum
        }
        let code = [Float](repeating: 0.7, count: candidates.count)
        var preactivation = code
        var gradient = [Double](repeating: 0, count: 90)
        _ = try selected.withUnsafeBufferPointer { selected in
            try code.withUnsafeBufferPointer { code in
                try preactivation.withUnsafeMutableBufferPointer { preactivation in
                    try gradient.withUnsafeMutableBufferPointer {
                        try learning.backward(
                            candidates, selected: selected, codeGradient: code, context,
                            preactivationGradient: preactivation, tensorGradients: [$0])
                    }
                }
            }
        }
        let difference = (smoothed(t + 1e-7) - smoothed(t - 1e-7)) / 2e-7
        // 0.7 is a float; the ramp is linear, so the difference is exact up to rounding over 2e-7.
        #expect(abs(gradient[j] - difference) < 1e-5 * abs(difference), "\(gradient[j]), \(difference)")
    }

    // MARK: Training

    private func trained(_ reference: String, steps: Int = 60, scale: Float = 3) throws
        -> (SparseAutoencoder, Trainer, Matrix, [StepRecord])
    {
        let (d, B, k) = (24, 256, 6.0)
        var settings = TrainingSettings(k: k, batchSize: B, steps: steps)
        settings.learningRate = 3e-3
        let layout = try PrefixLayout(groups: [32, 96])
        let sae = SparseAutoencoder(dIn: d, layout: layout)
        sae.initialize(seed: 4)
        let trainer = try Trainer(
            sae, plan: try TrainingPlan(settings, dIn: d, layout: layout), rule: try rule(reference))
        // Sparse combinations of fixed directions, mean square norm about 1.
        let directions = Matrix(rows: 40, columns: d)
        let random = CounterRandom(seed: 1, purpose: .test)
        random.fill(
            UnsafeMutableBufferPointer(start: directions.elements, count: directions.count), from: -0.35, to: 0.35)
        func batch(_ step: Int) -> Matrix {
            let x = Matrix(rows: B, columns: d)
            let choice = CounterRandom(seed: 2, purpose: .test, step: UInt32(step))
            for b in 0..<B {
                for i in 0..<3 {
                    let direction = Int(choice.word(UInt64(b * 3 + i)) % 40)
                    for c in 0..<d { x[b, c] += directions[direction, c] }
                }
            }
            return x
        }
        var records: [StepRecord] = []
        for step in 0..<steps { records.append(try trainer.update(batch(step))) }
        let x = batch(steps)
        let raw = x.copy()
        for i in 0..<raw.count { raw[i] *= scale }
        // What the rule itself keeps of the batch, in training's units and before anything is folded.
        try trainer.bringBack()
        try trainer.finish(inputScale: scale)
        return (sae, trainer, raw, records)
    }

    @Test func `jumprelu trains towards k and lowers the loss`() throws {
        let (sae, trainer, x, records) = try trained("jumprelu,threshold=0.05,lambda=1,rate=3", steps: 400)
        let last = try #require(records.last)
        #expect(last.prefixLosses.last! < 0.3 * records[0].prefixLosses.last!)
        // From above or below to within a fifth: the penalty is quadratic, so near k it pulls little.
        #expect((4.8...7.2).contains(last.meanActiveNonCore), "\(last.meanActiveNonCore)")
        #expect(last.penalty != nil && records[0].penalty == 0)
        // Thresholds moved, each its own way, and are exported in raw units.
        let thresholds = try sae.inferenceThresholds().values
        #expect(Set(thresholds).count > 64 && sae.inference == .thresholds(thresholds))
        #expect(thresholds == trainer.learnables[0].values)
        let codes = SparseCodes()
        try SparseEncoder().encode(x, with: sae, into: codes)
        #expect((4.0...8.0).contains(Double(codes.count) / Double(x.rows)))
    }

    @Test func `the same training gives the same bits`() throws {
        let (a, first, _, _) = try trained("jumprelu", steps: 20)
        let (b, second, _, _) = try trained("jumprelu", steps: 20)
        #expect(a.encoder.values == b.encoder.values && a.decoder.values == b.decoder.values)
        #expect(first.learnables[0].values == second.learnables[0].values)
    }

    @Test func `a top k SAE is used without the plugin, from its folder too`() throws {
        let (sae, _, x, records) = try trained("topk")
        #expect(sae.inference == .rowTopK(6) && records.last!.meanActiveNonCore <= 6)
        let (folder, encoder) = (TemporaryFolder(), SparseEncoder())
        try SAEFolder.write(sae, SAEProvenance(), to: folder.path)
        let read = try SAEFolder.read(folder.path).sae
        #expect(read.inference == .rowTopK(6))
        let (a, b, selected) = (SparseCodes(), SparseCodes(), SparseCodes())
        try encoder.encode(x, with: sae, into: a)
        try encoder.encode(x, with: read, into: b)
        #expect(a.dense().values == b.dense().values)
        // As the rule selects.
        let centered = Matrix(rows: x.rows, columns: x.columns)
        try encoder.center(x, for: sae, into: centered)
        _ = try encoder.select(
            centered, with: sae, rule: try rule("topk"),
            SelectionContext(.infer, of: sae, rows: x.rows, meanActive: 6), budget: .total, into: selected)
        #expect(a.dense().values == selected.dense().values)
        #expect(a.count > 5 * x.rows)
    }
}
