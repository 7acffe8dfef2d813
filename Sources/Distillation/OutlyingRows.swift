import TensorFiles

/// Rows that are trained on though their norm is far above the others'.
///
/// A row weighs in the loss by the square of its norm. In Gemma 3 270M at layer 9 the sinks inside of texts have 7.6 to 10 times the median
/// norm, at the usual ratio of 10 most of them are rows, and these 57 of 98,595 hold .44 of the variance: an SAE of 4096 latents has 2,729
/// dead after 360 steps with them, 17 without.
struct OutlyingRows {
    /// Times the median norm of a pass; others of that model have up to 1.6, those of SmolLM2 at layer 15 up to 1.5.
    static let ratio: Float = 3
    /// A share that is not worth a word.
    private static let usual = 1e-4

    var count = 0

    /// What is to be said of them among so many rows; nil where they are few.
    func warning(among rows: Int) -> String? {
        guard Double(count) > Self.usual * Double(rows) else { return nil }
        return
            "\(count) of \(rows) rows have norms above \(decimals(Double(Self.ratio), 0)) times the median. In the loss a row weighs by the "
            + "square of its norm, and a few such rows can leave most latents dead: --sinks \(decimals(Double(Self.ratio), 0)) (splice.sinks in "
            + "a recipe) leaves them out as attention sinks"
    }
}
