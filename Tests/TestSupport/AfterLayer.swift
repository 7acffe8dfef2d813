import LanguageModeling
import LinearAlgebra
import TensorFiles

/// The usual hook point, the residual stream after a block.
extension LanguageModel {
    /// See `LanguageModel`.
    package func residual(of batch: TokenBatch, afterLayer layer: Int) throws -> Matrix {
        try residual(of: batch, at: .residPost(layer))
    }

    /// See `LanguageModel`.
    package func losses(of batch: TokenBatch, residual: Matrix, afterLayer layer: Int) throws -> [Float] {
        try losses(of: batch, residual: residual, at: .residPost(layer))
    }

    /// See `LanguageModel`.
    package func lossesAndGradient(
        of batch: TokenBatch, residual: Matrix, afterLayer layer: Int
    ) throws -> (losses: [Float], gradient: Matrix) {
        try lossesAndGradient(of: batch, residual: residual, at: .residPost(layer))
    }

    /// See `LanguageModel`.
    package func replay(
        of batch: TokenBatch, residual: Matrix, afterLayer layer: Int
    ) throws -> any SuffixReplay {
        try replay(of: batch, residual: residual, at: .residPost(layer))
    }

    /// See `LanguageModel`.
    package func logits(of batch: TokenBatch, residual: Matrix, afterLayer layer: Int) throws -> Matrix {
        try logits(of: batch, residual: residual, at: .residPost(layer))
    }
}
