import Attribution
import LinearAlgebra

/// −a·⟨g, w⟩/‖w‖ with every sum in Double: the oracle of the gradient × activation plugin.
public final class NaiveGradientTimesActivation: AttributionScorer {
    /// Not the plugin's.
    public let name = "naive-gxa"
    public let version = "0"

    public init() {}

    /// One score per entry.
    public func score(_ batch: ScoringBatch, into scores: UnsafeMutableBufferPointer<Float>) {
        let d = batch.decoder.columns
        for r in 0..<batch.codes.rows {
            for e in batch.codes.entries(ofRow: r) {
                let j = Int(batch.codes.columnIndices[e])
                var (dot, square) = (0.0, 0.0)
                for c in 0..<d {
                    dot += Double(batch.gradient[r, c]) * Double(batch.decoder[j, c])
                    square += Double(batch.decoder[j, c]) * Double(batch.decoder[j, c])
                }
                scores[e] = Float(-Double(batch.codes.values[e]) * dot / square.squareRoot())
            }
        }
    }
}
