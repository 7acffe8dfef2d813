import LinearAlgebra

/// What of a batch its tokens are compared with, and means over it.
struct BatchSums {
    private let dIn: Int
    private let center: [Double]
    /// Tokens that are reconstructed; Σ‖x − x̂‖², Σ‖x‖², Σ‖x̂‖², Σ⟨x, x̂⟩ over them.
    private(set) var (tokens, error, square, squareOut, product) = (0.0, 0.0, 0.0, 0.0, 0.0)

    init(_ sample: SpliceSample, _ reconstruction: Matrix) {
        dIn = reconstruction.columns
        let rows = (0..<sample.residual.rows).filter { sample.replaced[$0] != 0 }
        var sum = [Double](repeating: 0, count: dIn)
        for r in rows {
            let x = sample.residual.row(r)
            for c in 0..<dIn { sum[c] += Double(x[c]) }
        }
        center = sum.map { $0 / Double(max(rows.count, 1)) }
        tokens = Double(rows.count)
        for r in rows {
            let token = token(sample.residual.row(r), reconstruction.row(r))
            error += token.error
            square += token.square
            squareOut += token.squareOut
            product += token.product
        }
    }

    /// ‖x − x̂‖², ‖x‖², ‖x̂‖², ⟨x, x̂⟩ and ‖x − x̄‖² of a token, x̄ the batch's mean.
    struct Token {
        var (error, square, squareOut, product, spread) = (0.0, 0.0, 0.0, 0.0, 0.0)
    }

    func token(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>) -> Token {
        var token = Token()
        center.withUnsafeBufferPointer { center in
            for c in 0..<dIn {
                let (a, b) = (Double(x[c]), Double(y[c]))
                token.error += (a - b) * (a - b)
                token.square += a * a
                token.squareOut += b * b
                token.product += a * b
                token.spread += (a - center[c]) * (a - center[c])
            }
        }
        return token
    }
}

/// Means over batches, of which SAEBench makes what it does not make of tokens.
struct BatchMeans {
    private var (batches, tokens, error, square, bias) = (0.0, 0.0, 0.0, 0.0, 0.0)

    /// Takes in a batch; one without tokens says nothing.
    mutating func add(_ batch: BatchSums) {
        guard batch.tokens > 0 else { return }
        batches += 1
        tokens += batch.tokens
        error += batch.error / batch.tokens
        square += batch.square / batch.tokens
        bias += batch.squareOut / batch.product
    }

    /// mean_t [‖x_t − x̂_t‖² / tokens of t's batch].
    var meanSquaredError: Double { error / tokens }
    /// Mean of E‖x̂‖² / E⟨x, x̂⟩.
    var relativeReconstructionBias: Double { bias / batches }

    /// SAEBench's figure, where the square of the mean square of a number, S/d, stands for ‖x̄‖².
    func explainedVarianceOfSAEBench(dIn: Int) -> Double {
        let (R, S) = (error / batches, square / batches)
        return 1 - R / (S - (S / Double(dIn)) * (S / Double(dIn)))
    }
}
