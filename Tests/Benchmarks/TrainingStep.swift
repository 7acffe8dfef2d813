import Glibc
import LinearAlgebra
import PluginHost
import SparseCoding

/// A training step, phase by phase, beside the one dense product it cannot do without, x W_enc [B, D]·[D, F].
struct TrainingStep {
    let shape: TrainingShape
    var rounds = 7
    /// A Python that has the peers.
    var python: String?

    func run() throws {
        // As users get it: the shipped plugin, through the C ABI.
        let rule = try PluginCatalog().sparsityRule(
            "batchtopk", services: PluginServices(log: { print("\($0.plugin): \($0.text)") }))
        ResidentMemory.resetPeak()
        let before = ResidentMemory.peak
        let (sae, silent) = try shape.autoencoder()
        // So many steps that the learning rate stays near 0: the same work in every round.
        let plan = try TrainingPlan(
            TrainingSettings(k: Double(shape.k), batchSize: shape.batch, steps: 100_000), dIn: shape.dIn,
            layout: sae.layout)
        let trainer = try Trainer(sae, plan: plan, rule: rule, tokensSinceFired: silent)
        let inputs = (0..<2).map { shape.input($0) }
        for x in inputs { _ = try trainer.update(x) }
        let peak = ResidentMemory.peak.flatMap { peak in before.map { peak - $0 } }

        let rounds = try measure(trainer, inputs)
        print("\ntraining step, \(shape.title), rule \(rule.name) \(rule.version)")
        report(rounds)
        if trainer.arithmetic.repeatCount > 0 {
            print("  \(trainer.arithmetic.repeatCount) selections were made twice")
        }
        let formula = shape.residentBytes(prefixes: sae.layout.prefixes.count, lanes: Lanes.shared.count)
        if let peak { printRow("peak memory, and its formula", gigabytes(peak), gigabytes(formula)) }
        reportPeers(step: rounds.median("step"))
    }

    private func measure(_ trainer: Trainer, _ inputs: [Matrix]) throws -> Rounds {
        let encoder = trainer.sae.encoder
        let product = Matrix(rows: shape.batch, columns: shape.width)
        let (tiles, memory) = (PreactivationTiles(), MemoryBandwidth())
        var rounds = Rounds()
        for round in 0..<(self.rounds + 1) {
            let x = inputs[round % inputs.count]
            var lap = Rounds()
            lap.time("product") {
                Lanes.shared.multiply(x.view, encoder.view.transposed, into: product.mutableView)
            }
            lap.time("tiles") { tiles.forEach(input: x, rows: 0..<x.rows, encoder: encoder) { _ in } }
            lap.time("triad", memory.pass)
            var ends: [(TrainingPhase, Double)] = []
            trainer.onPhase = { ends.append(($0, monotonicSeconds())) }
            var last = monotonicSeconds()
            try lap.time("step") { _ = try trainer.update(x) }
            for (phase, end) in ends {
                lap.add("\(phase)", end - last)
                last = end
            }
            // The first is for warming up.
            if round > 0 { rounds.append(lap) }
        }
        trainer.onPhase = nil
        return rounds
    }

    private func report(_ rounds: Rounds) {
        let floor = rounds.median("product")
        let operations = 2 * Double(shape.batch) * Double(shape.dIn) * Double(shape.width)
        func times(_ part: String) -> String { "\(number(rounds.medianRatio(of: part, to: "product"), 2)) ×" }
        func rate(_ part: String) -> String { "\(number(operations / rounds.median(part) / 1e9, 0)) GFLOP/s" }
        let bandwidth = MemoryBandwidth().bytes / rounds.median("triad")
        printRow("encode product alone", milliseconds(floor), "1 ×", rate("product"))
        printRow("the same in tiles, not kept", milliseconds(rounds.median("tiles")), times("tiles"), rate("tiles"))
        for phase in TrainingPhase.allCases where phase != .auxiliary || shape.dead > 0 {
            let (name, bytes) = ("\(phase)", shape.bytes(of: phase, lanes: Lanes.shared.count))
            let seconds = rounds.median(name)
            printRow(
                name, milliseconds(seconds), times(name), gigabytes(bytes),
                "\(number(bytes / seconds / 1e9, 0)) GB/s")
        }
        printRow(
            "whole step", milliseconds(rounds.median("step")), times("step"),
            "\(number(Double(shape.batch) / rounds.median("step"), 0)) tok/s")
        printRow("memory, triad", "", "", "", "\(number(bandwidth / 1e9, 0)) GB/s")
    }

    private func reportPeers(step: Double) {
        guard let python else { return }
        for time in PeerSteps(python: python).times(of: shape) {
            if let seconds = time.seconds {
                printRow(time.name, milliseconds(seconds), "\(number(seconds / step, 1)) × step")
            } else {
                print("  \(time.name): \(time.error ?? "no answer")")
            }
        }
    }

    private func gigabytes(_ bytes: Double) -> String { "\(number(bytes / 1e9, 2)) GB" }
}
