import Glibc
import LanguageModeling
import LinearAlgebra
import TensorFiles

extension SyntheticModel {
    /// Sequences drawn from the model itself, `[rows, T]` token ids: the first token evenly, each other one by the model's own
    /// probabilities after those before it. So the model's loss on them is their entropy, and no other model's is lower.
    /// Rows have numbers: other ones are other text.
    public func sample(rows range: Range<Int>) -> [Int32] {
        let (length, words, d) = (world.settings.context, configuration.vocabularySize, configuration.dModel)
        var ids = [Int32](repeating: 0, count: range.count * length)
        ids.withUnsafeMutableBufferPointer { ids in
            let target = SendablePointer(ids.baseAddress!)
            Lanes.shared.forRanges(range.count) { _, rows in
                var firing = FiringFeatures(world)
                var logits = [Double](repeating: 0, count: words)
                var row = [Int32](repeating: 0, count: length)
                let x = Matrix(rows: 1, columns: d)
                for r in rows {
                    let random = CounterRandom(
                        seed: UInt64(world.settings.seed), purpose: .syntheticText,
                        step: UInt32(range.lowerBound + r))
                    row[0] = Int32(random.word(0) % UInt64(words))
                    for t in 1..<length {
                        firing.draw(after: row[0..<t])
                        firing.write(to: x.elements)
                        row[t] = draw(x, &logits, Double(random.word(UInt64(t)) >> 11) * 0x1p-53)
                    }
                    (target.pointer + r * length).update(from: row, count: length)
                }
            }
        }
        return ids
    }

    /// The token at `u` of the cumulated probabilities after x.
    private func draw(_ x: Matrix, _ logits: inout [Double], _ u: Double) -> Int32 {
        let (d, threshold) = (configuration.dModel, world.settings.threshold)
        for v in logits.indices { logits[v] = 0 }
        for i in 0..<world.readers.rows {
            let row = world.readers.row(i)
            var along = 0.0
            for c in 0..<d { along += Double(row[c]) * Double(x[c] - world.bias[c]) }
            guard along > threshold else { continue }
            let reading = (along - threshold) / (1 - threshold)
            for v in logits.indices { logits[v] += reading * Double(world.promotions[v, i]) }
        }
        let largest = logits.max() ?? 0
        for v in logits.indices { logits[v] = exp(logits[v] - largest) }
        var left = u * logits.reduce(0, +)
        for v in logits.indices {
            left -= logits[v]
            if left < 0 { return Int32(v) }
        }
        return Int32(logits.count - 1)
    }
}
