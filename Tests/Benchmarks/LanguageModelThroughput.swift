import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// Tokens a second of a model: what the harvest costs (residual stream up to a layer) and what attribution
/// costs (losses and gradient from there), each beside the time its matrix products alone would take; then what
/// running suffixes again costs a token, beside the plain forward; then the same jobs in transformers.
struct LanguageModelThroughput {
    let name: String
    let model: Decoder
    let layer: Int
    var batch = BatchSize()
    /// A Python with torch and transformers.
    var python: String?
    /// The same model as a folder that transformers reads; config.json is enough.
    var folder: String?

    func run() throws {
        let (c, sequences, length) = (model.configuration, batch.sequences, batch.length)
        let batch = TokenBatch(
            ids: (0..<sequences * length).map { Int32($0 * 7919 % c.vocabularySize) }, sequenceCount: sequences,
            length: length)
        let x = try model.residual(of: batch, at: .residPost(layer))

        let product = BlockProduct(dModel: c.dModel, width: model.description.perceptron.inputWidth)
        // Suffixes as an ablation makes them: most of the 24 begin late, one in four at the start.
        let replay = try model.replay(of: batch, residual: x, at: .residPost(layer))
        let suffixes = (0..<24).map { i in
            let (sequence, first) = (i % sequences, i % 4 == 0 ? 0 : 61 * i % length)
            return SequenceSuffix(sequence: sequence, first: first, residual: x.row(sequence * length + first))
        }
        let replayedRows = suffixes.reduce(0) { $0 + length - $1.first }
        var replayed = [Float](repeating: 0, count: replayedRows)
        var rounds = Rounds()
        for _ in 0..<self.batch.rounds {
            rounds.time("product") { product.run() }
            try rounds.time("residual") { _ = try model.residual(of: batch, at: .residPost(layer)) }
            try rounds.time("losses") { _ = try model.losses(of: batch, residual: x, at: .residPost(layer)) }
            try rounds.time("replay") {
                try replayed.withUnsafeMutableBufferPointer { try replay.losses(of: suffixes, into: $0.baseAddress!) }
            }
            try rounds.time("gradient") {
                _ = try model.lossesAndGradient(of: batch, residual: x, at: .residPost(layer))
            }
        }

        let rate = product.operations / rounds.median("product")
        print(
            "\nlanguage model \(name), \(sequences) × \(length) tokens; its largest product alone \(number(rate / 1e9, 0)) GFLOP/s"
        )
        for job in LanguageModelJob.all(of: model.description, layer: layer) {
            job.printRow(seconds: rounds.median(job.part), tokens: batch.tokenCount, rate: rate)
        }
        LanguageModelJob(
            part: "replay", title: "\(suffixes.count) suffixes run again from layer \(layer)",
            operations: LanguageModelJob.fromLayer(model.description, layer)
        ).printRow(seconds: rounds.median("replay"), tokens: replayedRows, rate: rate)
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        printRow("peak memory of the process", "\(usage.ru_maxrss / 1024) MiB")
        try compare(rounds)
    }

    /// The peer's times beside ours, same model, tokens and number of threads, in this run.
    private func compare(_ rounds: Rounds) throws {
        let (sequences, length) = (batch.sequences, batch.length)
        guard let python, let folder else { return }
        let script = PeerScript(python: python, name: "language_model.py")
        // Each in a process of its own, so that each has a peak of its own.
        for how in ["sdpa", "eager", "oneDNN", "bf16"] {
            let options = ["--how", how, "--threads", "\(Lanes.shared.count)"]
            let sizes = ["--sequences", "\(sequences)", "--length", "\(length)", "--rounds", "\(min(3, batch.rounds))"]
            guard let lines = try script.run([folder, "\(layer)"] + options + sizes) else {
                print("  the peer's script failed for \(how)")
                continue
            }
            for line in lines {
                guard let part = line["part"]?.string, let seconds = line["seconds"]?.double else { continue }
                printRow(
                    "\(part), torch \(how)", milliseconds(seconds),
                    "\(number(Double(sequences * length) / seconds, 0)) tok/s",
                    "ours \(number(seconds / rounds.median(part == "harvest" ? "residual" : part), 2)) ×",
                    "\(line["peak_mib"]?.integer ?? 0) MiB")
            }
        }
    }
}

/// Something a language model is asked for, with the operations of its matrix products a token, without those of attention.
struct LanguageModelJob {
    let part: String
    let title: String
    let operations: Int

    static func all(of description: DecoderDescription, layer: Int) -> [LanguageModelJob] {
        let above = fromLayer(description, layer)
        return [
            LanguageModelJob(
                part: "residual", title: "harvest, residual to layer \(layer)",
                operations: 2 * (layer + 1) * block(description)),
            LanguageModelJob(part: "losses", title: "losses from layer \(layer)", operations: above),
            LanguageModelJob(
                part: "gradient", title: "losses and gradient from layer \(layer)", operations: 2 * above),
        ]
    }

    /// What is measured on a card beside these; a divergence runs the model's own stream up too.
    static func metrics(of description: DecoderDescription, layer: Int) -> [LanguageModelJob] {
        let above = fromLayer(description, layer)
        return [
            LanguageModelJob(part: "RelP", title: "the same by RelP's rules", operations: 2 * above),
            LanguageModelJob(part: "divergence", title: "divergences and gradient", operations: 3 * above),
        ]
    }

    /// Blocks above a layer, and the head.
    static func fromLayer(_ description: DecoderDescription, _ layer: Int) -> Int {
        let c = description.configuration
        return 2 * ((c.layerCount - 1 - layer) * block(description) + c.dModel * c.vocabularySize)
    }

    /// Multiply-adds of a block.
    private static func block(_ description: DecoderDescription) -> Int {
        let (a, m) = (description.attention, description.perceptron)
        return description.configuration.dModel
            * (2 * (a.headCount + a.keyValueHeadCount) * a.headDimension + m.inputWidth + m.width)
    }

    /// Time, tokens a second, and the share of it that products at `rate` would take.
    func printRow(seconds: Double, tokens: Int, rate: Double) {
        let bound = Double(operations) * Double(tokens) / rate
        Benchmarks.printRow(
            title, milliseconds(seconds), "\(number(Double(tokens) / seconds, 0)) tok/s",
            "\(number(100 * bound / seconds, 0))%")
    }
}

/// A block's largest product in the shape the model uses it.
private struct BlockProduct {
    private let (x, w, y): (Matrix, Matrix, Matrix)
    private let repeats = 8

    init(dModel: Int, width: Int) {
        let n = 512 * Lanes.shared.count
        x = Matrix(rows: n, columns: dModel)
        w = Matrix(rows: width, columns: dModel)
        y = Matrix(rows: n, columns: width)
    }

    var operations: Double { Double(repeats) * 2 * Double(x.rows) * Double(w.count) }

    func run() { for _ in 0..<repeats { Lanes.shared.multiply(x.view, w.view.transposed, into: y.mutableView) } }
}

/// How many tokens a language model is timed on, and how often.
struct BatchSize {
    var (sequences, length, rounds) = (8, 256, 5)
}
