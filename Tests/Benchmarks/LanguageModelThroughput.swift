import Glibc
import LanguageModeling
import LinearAlgebra

/// Tokens a second of a real model: what the harvest costs (residual stream up to a layer) and what attribution
/// costs (losses and gradient from there), each beside the time its matrix products alone would take.
struct LanguageModelThroughput {
    let path: String
    let layer: Int

    func run() throws {
        let start = seconds()
        let model = try loadLanguageModel(path: path)
        let c = model.configuration
        print("load \(path): \(rounded(seconds() - start)) s")
        let batch = TokenBatch(
            ids: (0..<2048).map { Int32($0 * 7919 % c.vocabularySize) }, sequenceCount: 8, length: 256)
        let x = try model.residual(of: batch, afterLayer: layer)

        // Multiply-adds of a token in one block's products, without attention, and in the head's.
        let queries = c.headCount * c.headDimension
        let block = c.dModel * (2 * queries + 2 * c.keyValueHeadCount * c.headDimension + 3 * c.intermediateSize)
        let head = c.dModel * c.vocabularySize
        let above = c.layerCount - 1 - layer
        let rate = productRate(c)
        print("products alone: \(rounded(rate / 1e9)) GFLOP/s")
        try report("residual up to layer \(layer)", 2 * (layer + 1) * block, rate, batch) {
            _ = try model.residual(of: batch, afterLayer: layer)
        }
        try report("losses from layer \(layer)", 2 * (above * block + head), rate, batch) {
            _ = try model.losses(of: batch, residual: x, afterLayer: layer)
        }
        try report("losses and gradient from layer \(layer)", 4 * (above * block + head), rate, batch) {
            _ = try model.lossesAndGradient(of: batch, residual: x, afterLayer: layer)
        }
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        print("peak memory \(usage.ru_maxrss / 1024) MiB, of which weights \(weightMiB(c)) MiB")
    }

    /// Operations a second of the block's largest product in the shape the model uses it.
    private func productRate(_ c: ModelConfiguration) -> Double {
        let n = 256 * Lanes.shared.count
        let x = Matrix(rows: n, columns: c.dModel)
        let w = Matrix(rows: 2 * c.intermediateSize, columns: c.dModel)
        let y = Matrix(rows: n, columns: 2 * c.intermediateSize)
        let time = best { for _ in 0..<8 { Lanes.shared.multiply(x, .normal, w, .transposed, into: y) } }
        return 8 * 2 * Double(n) * Double(w.count) / time
    }

    private func report(
        _ name: String, _ operations: Int, _ rate: Double, _ batch: TokenBatch, _ body: () throws -> Void
    ) rethrows {
        let time = try best(body)
        let bound = Double(operations) * Double(batch.tokenCount) / rate
        print(
            "\(name): \(Int(Double(batch.tokenCount) / time)) tokens/s, \(rounded(time)) s, products alone "
                + "\(rounded(bound)) s (\(Int(100 * bound / time))%)")
    }

    private func weightMiB(_ c: ModelConfiguration) -> Int {
        let queries = c.headCount * c.headDimension
        let block = c.dModel * (2 * queries + 2 * c.keyValueHeadCount * c.headDimension + 3 * c.intermediateSize)
        return (c.layerCount * block + c.dModel * c.vocabularySize * (c.isHeadTied ? 1 : 2)) * 4 / (1 << 20)
    }
}

/// The shortest of three runs, in seconds.
private func best(_ body: () throws -> Void) rethrows -> Double {
    var shortest = Double.infinity
    for _ in 0..<3 {
        let start = seconds()
        try body()
        shortest = min(shortest, seconds() - start)
    }
    return shortest
}

private func seconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

private func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
