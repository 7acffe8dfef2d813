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

    /// c.
    var count: Int { encoder.rows }

    /// A core of these latents, of which the recipe says what carries over.
    init(encoder: Matrix, biases: Matrix, mode: CoreMode, _ recipe: Recipe) {
        (self.encoder, self.mode) = (encoder, mode)
        self.biases = recipe.coreBias == .transfer ? biases : nil
    }

    /// The core of a core.json.
    ///
    /// - Throws: as `Core.encoderRows`.
    init(at path: String, dIn: Int, mode: CoreMode, _ recipe: Recipe) throws {
        let encoder = try Core.encoderRows(at: path, dIn: dIn)
        self.init(
            encoder: encoder, biases: try Core.encoderBiases(at: path, count: encoder.rows), mode: mode, recipe)
    }
}
