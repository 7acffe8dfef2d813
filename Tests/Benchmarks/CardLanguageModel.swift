import CUDABackend
import LanguageModeling
import LinearAlgebra

/// Tokens a second of a language model on a card, host copies of what goes in and comes out included, each beside the time its matrix
/// products alone would take; then where the time goes.
struct CardLanguageModel {
    let name: String
    let model: Decoder
    let layer: Int
    let precision: ProductPrecision
    var sequences = 8
    var length = 256
    var rounds = 7

    func run() throws {
        let context = try CUDAContext(index: 0)
        let before = try context.memory().free
        let card = try CUDALanguageModel(model, on: context, precision: precision)
        let weights = before - (try context.memory().free)
        let c = model.configuration
        let length = min(length, c.contextLength)
        let batch = TokenBatch(
            ids: (0..<sequences * length).map { Int32($0 * 7919 % c.vocabularySize) }, sequenceCount: sequences,
            length: length)
        let x = try card.residual(of: batch, at: .residPost(layer))
        let floors = try CardFloors(
            context, dIn: c.dModel, latents: model.description.perceptron.inputWidth, batch: batch.tokenCount,
            precision: precision)
        let operations =
            2 * Double(batch.tokenCount) * Double(c.dModel) * Double(model.description.perceptron.inputWidth)
        let rate = operations / floors.product
        var jobs: [(part: String, body: () throws -> Void)] = [
            ("residual", { _ = try card.residual(of: batch, at: .residPost(layer)) }),
            ("losses", { _ = try card.losses(of: batch, residual: x, at: .residPost(layer)) }),
            ("gradient", { _ = try card.lossesAndGradient(of: batch, residual: x, at: .residPost(layer)) }),
        ]
        let metrics: [(part: String, metric: TokenMetric, rule: BackwardRule)] = [
            ("RelP", .loss, .relp), ("divergence", .divergence(from: x), .plain),
        ]
        for asked in metrics {
            jobs.append(
                (
                    asked.part,
                    {
                        _ = try card.valuesAndGradient(
                            of: batch, residual: x, at: .residPost(layer), metric: asked.metric, weights: nil,
                            rule: asked.rule)
                    }
                ))
        }
        // Suffixes as an ablation makes them: a direction added at four positions, from all over the sequences.
        let suffixes = (0..<4 * sequences * 16).map { i in
            let first = 61 * i % length
            let additions = (0..<4).map {
                SequenceSuffix.Addition(
                    position: first + $0 * (length - first) / 4, factor: -1, row: x.row(i * 13 % x.rows))
            }
            return SequenceSuffix(sequence: i % sequences, first: first, additions: additions)
        }
        let replay = try card.replay(of: batch, residual: x, at: .residPost(layer))
        let replayedRows = suffixes.reduce(0) { $0 + length - $1.first }
        var replayed = [Float](repeating: 0, count: replayedRows)
        jobs.append(
            (
                "replay",
                {
                    try replayed.withUnsafeMutableBufferPointer {
                        try replay.losses(of: suffixes, into: $0.baseAddress!)
                    }
                }
            ))
        for job in jobs { try job.body() }
        var times = Rounds()
        for _ in 0..<rounds { for job in jobs { try times.time(job.part, job.body) } }
        print(
            "\nlanguage model \(name) on \(context.name), \(sequences) × \(length) tokens, \(precision.rawValue); its largest "
                + "product alone \(number(rate / 1e9, 0)) GFLOP/s")
        for job in LanguageModelJob.all(of: model.description, layer: layer)
            + LanguageModelJob.metrics(of: model.description, layer: layer)
        {
            job.printRow(seconds: times.median(job.part), tokens: batch.tokenCount, rate: rate)
        }
        LanguageModelJob(
            part: "replay", title: "\(suffixes.count) suffixes run again from layer \(layer)",
            operations: LanguageModelJob.fromLayer(model.description, layer)
        ).printRow(seconds: times.median("replay"), tokens: replayedRows, rate: rate)
        printRow("  suffixes a second", "\(number(Double(suffixes.count) / times.median("replay"), 0))")
        let taken = before - (try context.memory().free)
        printRow(
            "memory: weights, passes", "\(number(Double(weights) / 1e9, 2)) GB",
            "\(number(Double(taken - weights) / 1e9, 2)) GB")
        for job in jobs where job.part != "losses" { try printLaunches(of: job.part, on: context, job.body) }
    }

    private func printLaunches(of part: String, on context: CUDAContext, _ body: () throws -> Void) throws {
        let launches = LaunchTimes()
        context.times = launches
        try body()
        context.times = nil
        let totals = try launches.totals()
        print("  of the \(part):")
        for total in totals { printRow("  " + total.name, milliseconds(total.seconds), "\(total.count) launches") }
        printRow("  sum of these", milliseconds(totals.reduce(0) { $0 + $1.seconds }))
    }
}
