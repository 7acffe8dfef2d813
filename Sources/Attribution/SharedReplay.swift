import LanguageModeling
import LinearAlgebra
import TensorFiles

/// A spliced batch that suffixes can be run again of, prepared when the first is asked for: a batch nobody asks about
/// costs nothing, and scorers that ask about the same batch share it.
final class SharedReplay: @unchecked Sendable {
    let model: any LanguageModel
    let tokens: TokenBatch
    let hook: HookPoint
    private let residual: Matrix
    private var made: (any SuffixReplay)?
    private var scales: [Float]?

    init(model: any LanguageModel, tokens: TokenBatch, residual: Matrix, hook: HookPoint) {
        self.model = model
        self.tokens = tokens
        self.residual = residual
        self.hook = hook
    }

    /// σ [N] of the batch as it was spliced.
    func finalScales() throws -> [Float] {
        if let scales { return scales }
        let found = try model.finalScales(of: tokens, residual: residual, at: hook)
        scales = found
        return found
    }

    func prepared() throws -> any SuffixReplay {
        if let made { return made }
        let replay = try model.replay(of: tokens, residual: residual, at: hook)
        made = replay
        return replay
    }
}
