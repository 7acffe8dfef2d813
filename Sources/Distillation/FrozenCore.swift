import LinearAlgebra
import SparseCoding

/// What of a core a training begins with.
struct FrozenCore {
    /// [c, D] encoder vectors, which stay as they are.
    let encoder: Matrix
    /// [1, c] b_enc on activations as they are; nil for one that starts at 0.
    let biases: Matrix?
    /// How its latents are selected.
    let mode: CoreMode
    /// Share of tokens at which those of a dense one are held; nil to leave them alone.
    let rate: Double?

    /// c.
    var count: Int { encoder.rows }

    /// A core of these latents, of which the recipe says what carries over.
    init(_ vectors: CoreVectors, mode: CoreMode, rate: Double?, _ recipe: Recipe) {
        (encoder, self.mode, self.rate) = (vectors.encoder, mode, rate)
        biases = recipe.coreBias == .transfer ? vectors.biases : nil
    }
}

/// The vectors of a core's latents.
struct CoreVectors {
    /// [c, D] encoder vectors.
    var encoder: Matrix
    /// [1, c] b_enc on activations as they are; nil where it was not asked for.
    var biases: Matrix?

    /// Those of a core.json or a core.safetensors; b_enc only if it carries over.
    ///
    /// - Throws: as `Core.encoderRows`; `TensorFileError` for a file without b_enc.
    init(at path: String, dIn: Int, _ start: CoreBiasStart) throws {
        encoder = try Core.encoderRows(at: path, dIn: dIn)
        biases = start == .transfer ? try Core.encoderBiases(at: path, count: encoder.rows) : nil
    }

    init(encoder: Matrix, biases: Matrix?) { (self.encoder, self.biases) = (encoder, biases) }

    /// Those of some latents of an SAE, in this order.
    init(_ latents: [Int], of sae: SparseAutoencoder) {
        encoder = sae.encoder.rows(latents)
        biases = Matrix(vector: latents.map { sae.encoderBias[$0] })
    }

    /// Some of them, in this order.
    func rows(_ indices: [Int]) -> CoreVectors {
        CoreVectors(encoder: encoder.rows(indices), biases: biases.map { b in Matrix(vector: indices.map { b[$0] }) })
    }
}

extension Matrix {
    /// Copies of these rows, in this order.
    fileprivate func rows(_ indices: [Int]) -> Matrix {
        let result = Matrix(rows: indices.count, columns: columns)
        for (i, row) in indices.enumerated() { result.row(i).update(from: self.row(row), count: columns) }
        return result
    }
}
