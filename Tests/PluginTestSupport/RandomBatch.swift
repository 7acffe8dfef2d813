import Attribution
import LinearAlgebra
import TestSupport

/// A batch of `tokens` tokens in two sequences with `perToken` entries a token; decoder rows of many norms, one of them
/// zero.
public func randomBatch(tokens N: Int, latents m: Int, dimensions d: Int, perToken: Int, seed: UInt64 = 1)
    -> ScoringBatch
{
    func matrix(_ rows: Int, _ step: UInt32) -> Matrix {
        let result = Matrix(rows: rows, columns: d)
        CounterRandom(seed: seed, purpose: .test, step: step).fill(
            UnsafeMutableBufferPointer(start: result.elements, count: result.count), from: -1, to: 1)
        return result
    }
    let random = CounterRandom(seed: seed, purpose: .test, step: 9)
    let codes = SparseCodes(rows: N, columns: m, capacity: N * perToken)
    var used = 0
    for t in 0..<N {
        // Distinct ascending columns: one in each of perToken stretches. The first token of a sequence has none.
        if t != 0 && t != N / 2 {
            for s in 0..<perToken {
                let from = s * m / perToken, to = (s + 1) * m / perToken
                codes.columnIndices[used] = Int32(from + Int(random.word(UInt64(used)) % UInt64(to - from)))
                codes.values[used] = random.uniform(UInt64(used)) + 0.01
                used += 1
            }
        }
        codes.rowOffsets[t + 1] = Int64(used)
    }
    let decoder = matrix(m, 1)
    for j in 0..<m {
        for i in 0..<d { decoder[j, i] *= j == 0 ? 0 : Float(1 + j % 5) }
    }
    var scored = [UInt8](repeating: 1, count: N)
    if N > 0 {
        scored[0] = 0
        scored[N / 2] = 0
    }
    return ScoringBatch(
        codes: codes, decoder: decoder, decoderBias: matrix(1, 2), residual: matrix(N, 3),
        reconstruction: matrix(N, 4), gradient: matrix(N, 5), loss: [Float](repeating: 2, count: N),
        tokens: (0..<Int32(N)).map { $0 }, sequenceOffsets: [0, Int64(N / 2), Int64(N)], scored: scored, firstToken: 7,
        coreCount: 1, prefixWidths: [Int64(m), Int64(2 * m)], splicedWidth: m, errorTermAdded: false)
}

extension GoldenSplice {
    /// The outputs of a pass of `scorer` over the golden tokens in batches of `sequences` sequences.
    public func outputs(
        _ scorer: any AttributionScorer, prefix: Int = 32, sequences: Int = 4, budget: Int? = nil,
        keepFirst: Int = 0
    ) throws -> [String: [Double]] {
        let pass = try pass(scorer, prefix: prefix, budget: budget)
        try pass.begin(sequences: 4, tokens: 96)
        let whole = try sample(keepFirst: keepFirst)
        for first in stride(from: 0, to: 4, by: sequences) {
            let rows = first * 24..<(first + sequences) * 24
            _ = try pass.score(
                SpliceSample(
                    tokens: tokens.sequences(first..<first + sequences), residual: whole.residual.copy(rows: rows),
                    replaced: Array(whole.replaced[rows])))
        }
        return Dictionary(uniqueKeysWithValues: try pass.outputs().map { ($0.output.name, $0.values) })
    }
}

extension AttributionScorer {
    /// The scores of a batch as an array.
    public func scores(_ batch: ScoringBatch) throws -> [Float] {
        var scores = [Float](repeating: 0, count: batch.codes.count)
        try scores.withUnsafeMutableBufferPointer { try score(batch, into: $0) }
        return scores
    }
}
