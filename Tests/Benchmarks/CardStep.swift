import CUDABackend
import LinearAlgebra
import PluginHost
import SparseCoding

/// One training step on a card, beside its floors: the product, the optimiser's bytes, a copy.
struct CardStep {
    var shape: TrainingShape
    var precision: ProductPrecision
    var rounds = 7
    var python: String?

    func run() throws {
        let rule = try PluginCatalog().sparsityRule(
            "batchtopk", services: PluginServices(log: { print("\($0.plugin): \($0.text)") }))
        let context = try CUDAContext(index: 0)
        let before = try context.memory().free
        let (sae, silent) = try shape.autoencoder()
        let plan = try TrainingPlan(
            TrainingSettings(k: Double(shape.k), batchSize: shape.batch, steps: 100_000), dIn: shape.dIn,
            layout: sae.layout)
        let device = CUDATraining(context, precision: precision)
        let trainer = try Trainer(sae, plan: plan, rule: rule, tokensSinceFired: silent, on: device)
        let inputs = try (0..<4).map { (i: UInt32) in
            let batch = try trainer.makeBatch()
            batch.assign(shape.input(i))
            return batch
        }
        for x in inputs + inputs { _ = try trainer.update(x) }
        let taken = before - (try context.memory().free)
        print("\ntraining step on \(context.name), \(shape.title), \(precision.rawValue), rule \(rule.name)")

        func update(_ i: Int) throws {
            _ = try trainer.update(inputs[i % inputs.count]) { inputs[(i + 1) % inputs.count] }
        }
        // A step's update runs while the host goes on, so steps are timed in groups that end when the card has done all.
        var groups: [Double] = []
        let count = 20
        for _ in 0..<rounds {
            try context.synchronize()
            let start = monotonicSeconds()
            for i in 0..<count { try update(i) }
            try context.synchronize()
            groups.append((monotonicSeconds() - start) / Double(count))
        }
        let repeats = trainer.arithmetic.repeatCount
        let times = LaunchTimes()
        context.times = times
        for i in 0..<count { try update(i) }
        try context.synchronize()
        let parts = try times.totals()
        context.times = nil
        let floors = try CardFloors(
            context, dIn: shape.dIn, latents: shape.width, batch: shape.batch, precision: precision)

        let step = medianOf(groups)
        printRow(
            "whole step", cardTime(step), "\(number(Double(shape.batch) / step, 0)) tok/s",
            "\(number(step / floors.sum, 2)) × floor")
        printRow("fastest and slowest group", cardTime(groups.min()!), cardTime(groups.max()!))
        printRow("floor: product", cardTime(floors.product))
        printRow(
            "floor: bytes of Adam at a copy's rate", cardTime(floors.update), "\(number(floors.rate / 1e9, 0)) GB/s")
        for part in parts {
            printRow(part.name, cardTime(part.seconds / Double(count)), "\(part.count / count) a step")
        }
        printRow("sum of these", cardTime(parts.reduce(0) { $0 + $1.seconds } / Double(count)))
        if repeats > 1 { print("  \(repeats) selections were made twice") }
        let need = device.memory(dIn: shape.dIn, layout: sae.layout, k: Double(shape.k), batch: shape.batch)
        printRow(
            "memory, and its formula", "\(number(Double(taken) / 1e9, 2)) GB",
            "\(number(Double(need?.bytes ?? 0) / 1e9, 2)) GB")
        guard let python else { return }
        for isRounded in [false, true] {
            for time in PeerSteps(python: python, device: "cuda", isRounded: isRounded).times(of: shape) {
                let name = time.name + (isRounded ? ", TF32 allowed" : "")
                if let seconds = time.seconds {
                    printRow(name, cardTime(seconds), "\(number(seconds / step, 1)) × step")
                } else {
                    print("  \(name): \(time.error ?? "no answer")")
                }
            }
        }
    }
}

private func cardTime(_ seconds: Double) -> String {
    let microseconds = (seconds * 1e6).rounded()
    return microseconds < 10_000 ? "\(Int(microseconds)) µs" : "\(number(seconds * 1e3, 2)) ms"
}
