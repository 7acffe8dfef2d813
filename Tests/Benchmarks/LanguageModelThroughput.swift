import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles

/// Tokens a second of a real model: what the harvest costs (residual stream up to a layer) and what attribution
/// costs (losses and gradient from there), each beside the time its matrix products alone would take; then what
/// running suffixes again costs a token, beside the plain forward; then the same jobs in transformers.
struct LanguageModelThroughput {
    let path: String
    let layer: Int
    /// A Python with torch and transformers.
    var python: String?
    /// The same model as a folder that transformers reads.
    var folder: String?

    func run() throws {
        let model = try loadLanguageModel(path: path)
        let c = model.configuration
        let batch = TokenBatch(
            ids: (0..<2048).map { Int32($0 * 7919 % c.vocabularySize) }, sequenceCount: 8, length: 256)
        let x = try model.residual(of: batch, afterLayer: layer)

        // Multiply-adds of a token in one block's products, without attention, and in the head's.
        let description =
            try path.hasSuffix(".gguf")
            ? DecoderDescription(gguf: GGUFFile(path: path)) : DecoderDescription(huggingFace: path + "/config.json")
        let (a, m) = (description.attention, description.perceptron)
        let block = c.dModel * (2 * (a.headCount + a.keyValueHeadCount) * a.headDimension + m.inputWidth + m.width)
        let head = c.dModel * c.vocabularySize
        let above = c.layerCount - 1 - layer
        let product = BlockProduct(dModel: c.dModel, width: m.inputWidth)
        // Suffixes as an ablation makes them: most of the 24 begin late, one in four at the start.
        let replay = try model.replay(of: batch, residual: x, afterLayer: layer)
        let suffixes = (0..<24).map { i in
            let (sequence, first) = (i % 8, i % 4 == 0 ? 0 : 61 * i % 256)
            return SequenceSuffix(sequence: sequence, first: first, residual: x.row(sequence * 256 + first))
        }
        let replayedRows = suffixes.reduce(0) { $0 + 256 - $1.first }
        var replayed = [Float](repeating: 0, count: replayedRows)
        var rounds = Rounds()
        for _ in 0..<5 {
            rounds.time("product") { product.run() }
            try rounds.time("residual") { _ = try model.residual(of: batch, afterLayer: layer) }
            try rounds.time("losses") { _ = try model.losses(of: batch, residual: x, afterLayer: layer) }
            rounds.time("replay") {
                replayed.withUnsafeMutableBufferPointer { replay.losses(of: suffixes, into: $0.baseAddress!) }
            }
            try rounds.time("gradient") { _ = try model.lossesAndGradient(of: batch, residual: x, afterLayer: layer) }
        }

        let name = lastComponent(path)
        let rate = product.operations / rounds.median("product")
        print("\nlanguage model \(name), 8 × 256 tokens; its largest product alone \(number(rate / 1e9, 0)) GFLOP/s")
        let fromLayer = above * block + head
        for (part, title, tokens, operations) in [
            ("residual", "harvest, residual to layer \(layer)", batch.tokenCount, 2 * (layer + 1) * block),
            ("losses", "losses from layer \(layer)", batch.tokenCount, 2 * fromLayer),
            ("gradient", "losses and gradient from layer \(layer)", batch.tokenCount, 4 * fromLayer),
            ("replay", "\(suffixes.count) suffixes run again from layer \(layer)", replayedRows, 2 * fromLayer),
        ] {
            let seconds = rounds.median(part)
            let bound = Double(operations) * Double(tokens) / rate
            printRow(
                title, milliseconds(seconds), "\(number(Double(tokens) / seconds, 0)) tok/s",
                "\(number(100 * bound / seconds, 0))%")
        }
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        printRow("peak memory of the process", "\(usage.ru_maxrss / 1024) MiB")
        try compare(rounds)
    }

    /// The peer's times beside ours, same model, tokens and number of threads, in this run.
    private func compare(_ rounds: Rounds) throws {
        guard let python, let folder else { return }
        let script = PeerScript(python: python, name: "language_model.py")
        guard let lines = try script.run([folder, "\(layer)", "--threads", "\(Lanes.shared.count)"]) else {
            return print("  the peer's script failed")
        }
        for (part, ours) in [("harvest", "residual"), ("gradient", "gradient")] {
            for line in lines where line["part"]?.string == part {
                guard let seconds = line["seconds"]?.double, let how = line["how"]?.string else { continue }
                printRow(
                    "\(part), torch \(how)", milliseconds(seconds), "\(number(2048 / seconds, 0)) tok/s",
                    "ours \(number(seconds / rounds.median(ours), 2)) ×")
            }
        }
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
