import LanguageModeling
import LinearAlgebra
import TensorFiles

/// Suffixes of a batch run again on a card: as whole sequences, whose first part is computed in vain. Keys and values of earlier
/// positions are not kept, and losses are of the same precision as those that they are compared with.
final class DeviceReplay: SuffixReplay {
    private let model: CUDALanguageModel
    private let batch: TokenBatch
    private let residual: Matrix
    private let hook: HookPoint
    /// Sequences of a call.
    private let together: Int

    init(_ model: CUDALanguageModel, _ batch: TokenBatch, residual: Matrix, at hook: HookPoint, tokens: Int) {
        (self.model, self.batch, self.residual, self.hook) = (model, batch, residual, hook)
        together = max(1, tokens / batch.length)
    }

    /// Half a sequence is a usual suffix.
    var preferredRows: Int { 4 * together * batch.length / 2 }

    var losses: [Float] {
        get throws { try model.losses(of: batch, residual: residual, at: hook) }
    }

    func losses(of suffixes: [SequenceSuffix], into losses: UnsafeMutablePointer<Float>) throws {
        let (length, d) = (batch.length, residual.columns)
        var target = losses
        for start in stride(from: 0, to: suffixes.count, by: together) {
            let part = suffixes[start..<min(start + together, suffixes.count)]
            let x = Matrix(rows: part.count * length, columns: d)
            for (i, suffix) in part.enumerated() {
                precondition(
                    (0..<batch.sequenceCount).contains(suffix.sequence) && (0..<length).contains(suffix.first),
                    "a suffix of sequence \(suffix.sequence) from position \(suffix.first)")
                let own = suffix.sequence * length
                x.row(i * length).update(from: residual.row(own), count: suffix.first * d)
                x.row(i * length + suffix.first).update(from: suffix.residual, count: (length - suffix.first) * d)
            }
            let found = try model.losses(
                of: batch.sequences(part.map(\.sequence)), residual: x, at: hook)
            for (i, suffix) in part.enumerated() {
                for t in suffix.first..<length { target[t - suffix.first] = found[i * length + t] }
                target += length - suffix.first
            }
        }
    }
}
