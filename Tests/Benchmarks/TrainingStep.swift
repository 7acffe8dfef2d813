import LinearAlgebra
import PluginHost
import SparseCoding

/// A training step beside the one dense product it cannot do without, x W_enc [B, D]·[D, F].
struct TrainingStep {
    var dIn = 576
    var width: Int
    var k = 64.0
    var batch = 2048

    static func runAll() throws {
        for width in [4096, 16384] { try TrainingStep(width: width).run(rounds: 9) }
    }

    func run(rounds count: Int) throws {
        // As users get it: the shipped plugin, through the C ABI.
        let rule = try PluginCatalog().sparsityRule(
            "batchtopk", services: PluginServices(log: { print("\($0.plugin): \($0.text)") }))
        let layout = try PrefixLayout(groups: PrefixLayout.standardGroups(width: width))
        let sae = SparseAutoencoder(dIn: dIn, layout: layout)
        sae.initialize(seed: 1)
        // So many steps that warm-up and dead latents stay out of the picture.
        let plan = try TrainingPlan(
            TrainingSettings(k: k, batchSize: batch, steps: 100_000), dIn: dIn, layout: layout)
        let trainer = Trainer(sae, plan: plan, rule: rule)
        let x = inputs()
        let product = Matrix(rows: batch, columns: width)
        let pass = EncodingPass()
        let centered = Matrix(rows: batch, columns: dIn)
        let codes = SparseCodes()

        func round(_ rounds: inout Rounds) throws {
            rounds.time("product") { Lanes.shared.multiply(x, .normal, sae.encoder, .transposed, into: product) }
            try rounds.time("select") {
                try pass.center(x, for: sae, into: centered)
                _ = try pass.select(
                    centered, with: sae, rule: rule, mode: .train, k: k, budget: .nonCore, into: codes)
            }
            try rounds.time("gradients") { _ = try trainer.computeGradients(x, projecting: true) }
            try rounds.time("step") { _ = try trainer.update(x) }
        }
        var warmUp = Rounds()
        for _ in 0..<2 { try round(&warmUp) }
        var rounds = Rounds()
        for _ in 0..<count { try round(&rounds) }

        print(
            "\ntraining step, d = \(dIn), F = \(width), k = \(Int(k)), B = \(batch), rule \(rule.name) \(rule.version)")
        let floor = rounds.median("product")
        let operations = 2 * Double(batch) * Double(dIn) * Double(width)
        printRow("encode product alone", milliseconds(floor), "\(number(operations / floor / 1e9, 0)) GFLOP/s")
        for (name, seconds) in [
            ("pre-activations and selection", rounds.median("select")),
            ("losses and gradients", rounds.median(of: "gradients", less: "select")),
            ("Adam and unit rows", rounds.median(of: "step", less: "gradients")),
        ] {
            printRow(name, milliseconds(seconds), "\(number(seconds / floor, 2)) ×")
        }
        let step = rounds.median("step")
        printRow(
            "whole step", milliseconds(step), "\(number(rounds.medianRatio(of: "step", to: "product"), 2)) ×",
            "\(number(Double(batch) / step, 0)) tok/s")
    }

    /// x [B, D] uniform with mean square 1/D, as the input scale leaves it.
    private func inputs() -> Matrix {
        let x = Matrix(rows: batch, columns: dIn)
        let bound = (3 / Float(dIn)).squareRoot()
        CounterRandom(seed: 1, purpose: .test)
            .fill(UnsafeMutableBufferPointer(start: x.elements, count: x.count), from: -bound, to: bound)
        return x
    }
}
