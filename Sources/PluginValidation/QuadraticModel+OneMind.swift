import Attribution
import LinearAlgebra
import SparseCoding

extension QuadraticModel {
    /// A model in which a latent does the same wherever it fires: at every token its removal raises the loss, or at
    /// every token it lowers it. So totals have a known sign however they are made: sums, means, quantiles, of all
    /// or of a sample.
    ///
    /// Decoder rows are orthonormal, so that latents do not share effects; where a latent is silent the gradient has no
    /// part along it, so that setting it to a small mean there does nothing. Effects are of first order.
    /// The gradient is a thousand times as large as the activations, whatever they are.
    static func ofOneMind(seed: UInt64, sequences S: Int = 6, latents m: Int = 130, activations: Float = 1e-3)
        -> (model: QuadraticModel, signs: [Double])
    {
        let T = 12, d = m + 14, perToken = 12, N = S * T
        let random = CounterRandom(seed: seed, purpose: .test, step: 20)
        let decoder = orthonormal(m, d, random)
        let signs = (0..<m).map { random.word(UInt64(1_000_000 + $0)) % 3 == 0 ? -1.0 : 1.0 }
        let codes = SparseCodes(rows: N, columns: m, capacity: N * perToken)
        let residual = Matrix(rows: N, columns: d), gradient = Matrix(rows: N, columns: d)
        let bias = Matrix(rows: 1, columns: d)
        CounterRandom(seed: seed, purpose: .test, step: 21).fill(
            UnsafeMutableBufferPointer(start: residual.elements, count: residual.count), from: -1, to: 1)
        let reconstruction = residual.copy(rows: 0..<N), target = residual.copy(rows: 0..<N)
        var scored = [UInt8](repeating: 1, count: N)
        var loss = [Float](repeating: 0, count: N)
        var used = 0
        for t in 0..<N {
            scored[t] = t % T == 0 ? 0 : 1
            for s in 0..<(t % T == 0 ? 0 : perToken) {
                let from = s * m / perToken, to = (s + 1) * m / perToken
                let j = from + Int(random.word(UInt64(used)) % UInt64(to - from))
                let u = random.uniform(UInt64(2_000_000 + used))
                codes.columnIndices[used] = Int32(j)
                codes.values[used] = (0.5 + 0.5 * random.uniform(UInt64(3_000_000 + used))) * activations
                // Of a size of its own, varied a little from token to token.
                let size = (0.5 + Float(j * 7 % m) / Float(m)) * (0.9 + 0.2 * u) * (1000 * activations)
                for i in 0..<d {
                    reconstruction[t, i] += codes.values[used] * decoder[j, i]
                    gradient[t, i] -= Float(signs[j]) * size * decoder[j, i]
                }
                used += 1
            }
            codes.rowOffsets[t + 1] = Int64(used)
            for i in 0..<d {
                target[t, i] = reconstruction[t, i] - gradient[t, i]
                gradient[t, i] = reconstruction[t, i] - target[t, i]
                loss[t] += 0.5 * gradient[t, i] * gradient[t, i]
            }
        }
        let batch = ScoringBatch(
            codes: codes, decoder: decoder, decoderBias: bias, residual: residual, reconstruction: reconstruction,
            gradient: gradient, loss: loss, tokens: (0..<Int32(N)).map { $0 % 50 },
            sequenceOffsets: (0...S).map { Int64($0 * T) }, scored: scored, firstToken: 0, coreCount: 0,
            prefixWidths: [Int64(m)], splicedWidth: m, errorTermAdded: false)
        return (QuadraticModel(batch, target: target, length: T), signs)
    }

    /// The first rows of a random reflection, I − 2vvᵀ/‖v‖².
    private static func orthonormal(_ rows: Int, _ d: Int, _ random: CounterRandom) -> Matrix {
        let v = (0..<d).map { Double(random.uniform(UInt64(4_000_000 + $0))) - 0.5 }
        let square = v.reduce(0) { $0 + $1 * $1 }
        let result = Matrix(rows: rows, columns: d)
        for j in 0..<rows {
            for i in 0..<d { result[j, i] = Float((i == j ? 1 : 0) - 2 * v[j] * v[i] / square) }
        }
        return result
    }
}
