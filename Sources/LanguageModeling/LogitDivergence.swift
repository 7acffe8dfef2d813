import Glibc
import Kernels
import LinearAlgebra
import TensorFiles

extension LanguageModel {
    /// KL(p° ‖ p) `[B·T]` by the logits of one sequence at a time; 0 in padding.
    func divergencesOfLogits(of batch: TokenBatch, residual: Matrix, from own: Matrix, at hook: HookPoint) throws
        -> [Float]
    {
        var need = MemoryNeed(
            "divergences of sequences of \(batch.length) tokens need", advice: "lower --context")
        need.add("logits", 8, batch.length, configuration.vocabularySize)
        try need.check()
        var values = [Float](repeating: 0, count: batch.tokenCount)
        for sequence in 0..<batch.sequenceCount {
            let some = batch.sequences(sequence..<sequence + 1)
            let positions = sequence * batch.length..<(sequence + 1) * batch.length
            let other = try logits(of: some, residual: own.copy(rows: positions), at: hook)
            let logits = try logits(of: some, residual: residual.copy(rows: positions), at: hook)
            let columns = logits.columns
            values.withUnsafeMutableBufferPointer { buffer in
                let values = SendablePointer(buffer.baseAddress! + positions.lowerBound)
                Lanes.shared.forRanges(batch.length) { _, range in
                    for t in range where !some.isPadding(t) {
                        values.pointer[t] = divergence(from: other.row(t), to: logits.row(t), columns)
                    }
                }
            }
        }
        return values
    }
}

/// Σ p° (log p° − log p) of logits `[V]`, in Double.
private func divergence(from other: UnsafePointer<Float>, to logits: UnsafePointer<Float>, _ V: Int) -> Float {
    func logarithm(_ row: UnsafePointer<Float>) -> Double {
        let maximum = Double(kernels.maximum(row, V))
        return maximum + log((0..<V).reduce(0.0) { $0 + exp(Double(row[$1]) - maximum) })
    }
    let (reference, own) = (logarithm(other), logarithm(logits))
    let total = (0..<V).reduce(0.0) {
        let log0 = Double(other[$1]) - reference
        return $0 + exp(log0) * (log0 - (Double(logits[$1]) - own))
    }
    // Rounding makes it −1e-17 where both are the same.
    return Float(max(0, total))
}
