import LinearAlgebra
import SparseCoding

/// What two SAEs, which should be one, make of the same inputs.
package struct ConversionProbe {
    /// How many inputs both were applied to.
    package let rows: Int
    /// Mean active latents of an input, of the first.
    package let meanActive: Double
    /// Entries (input, latent) that are active in one alone.
    package let differentlyActive: Int
    /// Largest |difference| of activations.
    package let codes: Double
    /// Largest |difference| of reconstructions.
    package let reconstructions: Double

    /// Inputs are made of the first SAE's own decoder rows, so that its latents fire: b_dec and sixteen of them, each
    /// with an activation that exceeds its threshold.
    ///
    /// - Throws: `SparseCodingError.thresholdUnset` for an SAE that cannot be applied to single inputs.
    package init(_ first: SparseAutoencoder, _ second: SparseAutoencoder, rows: Int = 256, seed: UInt64 = 1) throws {
        let random = CounterRandom(seed: seed, purpose: .test)
        let thresholds = first.rowTopK == nil ? try first.inferenceThresholds() : Matrix(rows: 1, columns: first.dSAE)
        let made = Matrix(rows: rows, columns: first.dSAE)
        for r in 0..<rows {
            for i in 0..<min(16, first.dSAE) {
                let at = UInt64(16 * r + i)
                let j = Int(random.word(at) % UInt64(first.dSAE))
                let least = max(0, thresholds[j])
                guard least.isFinite else { continue }
                made[r, j] = least + (1 + least) * abs(random.normal(at + 1 << 32))
            }
        }
        let x = first.decode(SparseCodes(dense: made))
        func encoded(_ sae: SparseAutoencoder) throws -> (codes: Matrix, reconstruction: Matrix) {
            let codes = SparseCodes()
            try SparseEncoder().encode(x, with: sae, into: codes)
            return (codes.dense(), sae.decode(codes))
        }
        let (a, b) = (try encoded(first), try encoded(second))
        self.rows = rows
        func largest(_ a: Matrix, _ b: Matrix) -> Double {
            (0..<a.count).reduce(0) { most, i in
                let off = abs(Double(a[i]) - Double(b[i]))
                // max(most, NaN) is most.
                return off.isFinite ? max(most, off) : .infinity
            }
        }
        codes = largest(a.codes, b.codes)
        reconstructions = largest(a.reconstruction, b.reconstruction)
        differentlyActive = (0..<a.codes.count).count { (a.codes[$0] > 0) != (b.codes[$0] > 0) }
        meanActive = Double((0..<a.codes.count).count { a.codes[$0] > 0 }) / Double(rows)
    }
}
