import Kernels
import LinearAlgebra
import SparseCoding

/// What the weights of an SAE say of its latents, as SAEBench has it.
struct LatentWeights: Sendable {
    /// [F] each: b_enc, the encoder vector's norm, its cosine with the decoder row (NaN where one is 0), and the largest cosine with
    /// another latent's vector of the same side.
    let encoderBias, encoderNorm, encoderDecoderCosine, largestEncoderCosine, largestDecoderCosine: [Double]

    /// - Throws: what `progress` throws, which is told of rows; `ResourceError.memory`.
    init(_ sae: SparseAutoencoder, progress: (Int) throws -> Void) throws {
        let (F, d) = (sae.dSAE, sae.dIn)
        encoderBias = (0..<F).map { Double(sae.encoderBias[$0]) }
        func product(_ a: Matrix, _ b: Matrix, _ j: Int) -> Double {
            (0..<d).reduce(0.0) { $0 + Double(a[j, $1]) * Double(b[j, $1]) }
        }
        encoderNorm = (0..<F).map { product(sae.encoder, sae.encoder, $0).squareRoot() }
        let encoderNorm = encoderNorm
        encoderDecoderCosine = (0..<F).map { j in
            product(sae.encoder, sae.decoder, j)
                / (encoderNorm[j] * product(sae.decoder, sae.decoder, j).squareRoot())
        }
        largestEncoderCosine = try Self.largestCosines(sae.encoder, progress)
        largestDecoderCosine = try Self.largestCosines(sae.decoder, progress)
    }

    /// Rows whose cosines with all are there at once.
    private static let tileRows = 512

    /// The largest cosine of each row with another; a row of zeros has cosine 0 with all. NaN where there is no other.
    static func largestCosines(_ rows: Matrix, _ progress: (Int) throws -> Void) throws -> [Double] {
        var need = MemoryNeed(
            "comparing \(rows.rows) latents with each other needs", advice: "evaluate a smaller SAE")
        need.add("unit vectors", 4, rows.rows, rows.columns)
        need.add("cosines", 4, min(tileRows, rows.rows), rows.rows)
        try need.check()
        let units = rows.copy()
        for j in 0..<rows.rows {
            let norm = kernels.dot(units.row(j), units.row(j), units.columns).squareRoot()
            kernels.scale(units.row(j), 1 / max(norm, 1e-12), units.columns)
        }
        let cosines = Matrix(rows: min(tileRows, rows.rows), columns: rows.rows)
        var result: [Double] = []
        for first in stride(from: 0, to: rows.rows, by: tileRows) {
            let tile = first..<min(first + tileRows, rows.rows)
            Lanes.shared.multiply(
                units.view.rows(tile), units.view.transposed,
                into: MutableMatrixView(cosines.elements, rows: tile.count, columns: rows.rows))
            for j in tile {
                cosines[j - first, j] = -.infinity
                let largest = kernels.maximum(cosines.row(j - first), rows.rows)
                result.append(largest == -.infinity ? .nan : Double(largest))
            }
            try progress(tile.count)
        }
        return result
    }
}
