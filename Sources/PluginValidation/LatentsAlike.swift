import Attribution
import LinearAlgebra

extension PluginCheck.Subject {
    /// For totals: latents that trade their numbers trade their results.
    ///
    /// One that draws may draw otherwise for other numbers. Then the means of several passes, each in another order,
    /// are compared, to a fifth and six of the errors that they have by their spread: a factor of two on some latents
    /// stands out against draws that scatter by a third.
    func treatsLatentsAlike() throws {
        let score = try accumulation()
        let model = QuadraticModel.ofOneMind(seed: seed, sequences: 8).model
        let (other, _, numbers) = model.renumbered()
        let whole = [0..<8]
        let first = try accumulated(SequencePass(model), by: score, shards: whole)[0]
        let second = try accumulated(SequencePass(other), by: score, shards: whole)[0]
        let outputs = score.outputs.indices.filter { score.outputs[$0].shape == .latent }
        if outputs.allSatisfy({ difference(first[$0], second[$0], numbers) == nil }) { return }
        // Whether it draws: then its score is another one when the sequences come in another order.
        let turned = try accumulated(SequencePass(model, order: turn(3, of: 8)), by: score, shards: whole)[0]
        let identity = Array(numbers.indices)
        guard difference(first[0], turned[0], identity) != nil else {
            for i in outputs {
                if let (j, a, b) = difference(first[i], second[i], numbers) {
                    throw PluginCheck.Broken(
                        reason: "output \(score.outputs[i].name) of latent \(j) is \(a), and \(b) when the latents are "
                            + "in another order")
                }
            }
            return
        }
        let orders = (0..<8).map { turn($0, of: 8) }
        let here = try orders.map { try accumulated(SequencePass(model, order: $0), by: score, shards: whole)[0][0] }
        let there = try orders.map { try accumulated(SequencePass(other, order: $0), by: score, shards: whole)[0][0] }
        try comparesDraws(here, there, numbers)
    }

    /// For totals that do not draw: latents with large numbers get what they get with small ones.
    func treatsHighLatentsAlike(_ model: QuadraticModel, _ count: Int) throws {
        let score = try accumulation()
        let S = model.batch.sequenceOffsets.count - 1, m = model.batch.codes.columns
        let low = model.placed(from: 0, of: count), high = model.placed(from: count - m, of: count)
        let first = try accumulated(SequencePass(low), by: score, shards: [0..<S])[0]
        let turned = try accumulated(SequencePass(low, order: turn(3, of: S)), by: score, shards: [0..<S])[0]
        let second = try accumulated(SequencePass(high), by: score, shards: [0..<S])[0]
        for i in score.outputs.indices where score.outputs[i].shape == .latent {
            guard difference(first[i], turned[i], Array(0..<count)) == nil else { return }
            let numbers = (0..<count).map { ($0 + count - m) % count }
            guard let (j, a, b) = difference(Array(first[i][..<m]), second[i], numbers) else { continue }
            throw PluginCheck.Broken(
                reason: "output \(score.outputs[i].name) of latent \(j) is \(a), and \(b) when its number is "
                    + "\(numbers[j])")
        }
    }

    private func turn(_ shift: Int, of count: Int) -> [Int] { (0..<count).map { ($0 + shift) % count } }

    /// The first latent whose value went elsewhere than its number did, and both values.
    private func difference(_ first: [Double], _ second: [Double], _ numbers: [Int]) -> (Int, Double, Double)? {
        let most = 1e-4 * first.reduce(0) { $1.isNaN ? $0 : max($0, abs($1)) }
        for (j, a) in first.enumerated() {
            let b = second[numbers[j]]
            if a.isNaN != b.isNaN || abs(a - b) > most { return (j, a, b) }
        }
        return nil
    }

    private func comparesDraws(_ here: [[Double]], _ there: [[Double]], _ numbers: [Int]) throws {
        func values(_ passes: [[Double]], _ j: Int) -> [Double] { passes.map { $0[j] }.filter { !$0.isNaN } }
        struct Pair { var latent: Int, a: [Double], b: [Double] }
        let pairs = numbers.indices.map { Pair(latent: $0, a: values(here, $0), b: values(there, numbers[$0])) }
            .filter { min($0.a.count, $0.b.count) >= 4 }
        // Relative to the size of the effect, so that all latents say together how much draws scatter.
        func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
        func relative(_ values: [Double]) -> Double {
            let center = mean(values)
            let square = values.reduce(0) { $0 + ($1 - center) * ($1 - center) } / Double(values.count - 1)
            return center == 0 ? 0 : square / (center * center)
        }
        let spreads = pairs.flatMap { [relative($0.a), relative($0.b)] }.sorted()
        guard !spreads.isEmpty else { return }
        let spread = max(spreads.reduce(0, +) / Double(spreads.count), 1e-12)
        for pair in pairs {
            let (a, b) = (mean(pair.a), mean(pair.b))
            let (own, others) = (max(spread, relative(pair.a)), max(spread, relative(pair.b)))
            let error = 0.2 + 6 * (own / Double(pair.a.count) + others / Double(pair.b.count)).squareRoot()
            try expect(
                abs(a - b) <= error * max(abs(a), abs(b)),
                "the score of latent \(pair.latent) is \(a) on average, and \(b) when the latents are in another order")
        }
    }
}
