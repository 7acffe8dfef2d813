import Attribution
import LinearAlgebra
import TestSupport
import Testing

/// Scores of sequences drawn again are those of the same sequences one after the other.
@Suite struct ScoreEvidenceTests {
    private static let (sequences, length, latents) = (5, 40, 7)

    /// Codes of five sequences: latents fire ever less often, the last never; some scores repeat, some are 0.
    private func entries(_ order: [Int]) -> (fired: FiredEntries, batches: [(SparseCodes, [Float], Int)]) {
        let random = CounterRandom(seed: 3, purpose: .test)
        var fired = FiredEntries(latentCount: Self.latents, length: Self.length)
        var batches: [(SparseCodes, [Float], Int)] = []
        for s in order {
            let dense = Matrix(rows: Self.length, columns: Self.latents)
            var scored = [UInt8](repeating: 1, count: Self.length)
            scored[0] = 0
            scored[s] = 0
            for t in 0..<Self.length where scored[t] != 0 {
                for j in 0..<Self.latents - 1 where random.block(UInt64((s * 40 + t) * 7 + j)).y % (1 << UInt32(j)) == 0
                {
                    dense[t, j] = 1
                }
            }
            let codes = SparseCodes(dense: dense)
            let scores = (0..<codes.count).map { Float(Int(random.block(UInt64(s * 1000 + $0)).x % 41) - 20) / 8 }
            fired.add(codes, scored: scored)
            batches.append((codes, scores, scored.reduce(0) { $0 + Int($1) }))
        }
        return (fired, batches)
    }

    private static let aggregates: [Aggregate] = [
        .quantile(0), .quantile(0.5), .quantile(0.9), .quantile(0.99), .quantile(1), .mean, .rootMeanSquare, .maximum,
        .trimmedMean(0.01), .trimmedMean(0.2),
    ]

    @Test(arguments: [[1, 1, 1, 1, 1], [2, 0, 1, 3, 0], [0, 0, 0, 1, 0]])
    func weightsAreRepetitions(_ weights: [Int]) {
        let (fired, batches) = entries(Array(0..<5))
        let repeated = weights.indices.flatMap { [Int](repeating: $0, count: weights[$0]) }
        let again = entries(repeated).batches
        for aggregate in Self.aggregates {
            for scope in AggregateScope.allCases {
                for isSigned in [false, true] {
                    let evidence = TokenEvidence(
                        fired, fired.byLatent(), scores: batches.flatMap(\.1), aggregate: aggregate, scope: scope,
                        isSigned: isSigned)
                    let accumulator = ScoreAccumulator(
                        latents: Self.latents, tokens: repeated.count * Self.length, aggregate: aggregate, scope: scope,
                        isSigned: isSigned)
                    for (codes, scores, tokens) in again {
                        scores.withUnsafeBufferPointer { accumulator.add(codes, $0, tokens: tokens) }
                    }
                    // Order statistics are the same numbers; sums are of at most 200 Doubles in another order.
                    for (a, b) in paired(evidence.scores(weights: weights), accumulator.result()) {
                        #expect(isNear(a, b, within: 1e-13), "\(aggregate) \(scope) \(isSigned)")
                    }
                }
            }
        }
    }

    @Test func sequenceValuesAreAveragedOverAllSequences() {
        let (fired, _) = entries(Array(0..<5))
        // 0 where the latent does not fire, as ablation has it.
        var values = [Double](repeating: 0, count: 35)
        for e in fired.latents.indices {
            values[Int(fired.latents[e]) * 5 + fired.sequence(e)] = Double(fired.sequence(e) + 1)
        }
        let evidence = SequenceEvidence(values, expansions: nil, sizes: nil, sequences: 5)
        for weights in [[1, 1, 1, 1, 1], [0, 2, 1, 0, 2]] {
            let scores = evidence.scores(weights: weights)
            #expect(scores.count == 7)
            for (j, score) in scores.enumerated() {
                let expected = (0..<5).reduce(0.0) { $0 + Double(weights[$1]) * values[j * 5 + $1] } / 5
                #expect(abs(score - expected) < 1e-14)
            }
        }
    }

    @Test func whatWasDrawnStandsForTheRest() {
        // One latent: y = 3x exactly, so any draw gives the truth; and one that is silent.
        let x = [1.0, 2, 0, 5, 4, 0, 0, 0, 0, 0]
        let e = [4.0, 0, 0, 1.25, 0, 0, 0, 0, 0, 0]
        let y = zip(x, e).map { x, e in x == 0 ? 0 : e == 0 ? .nan : 3 * x }
        let evidence = SequenceEvidence(y, expansions: e, sizes: x, sequences: 5)
        for weights in [[1, 1, 1, 1, 1], [0, 2, 1, 2, 0], [2, 0, 1, 0, 2]] {
            let scores = evidence.scores(weights: weights)
            let expected = (0..<5).reduce(0.0) { $0 + Double(weights[$1]) * 3 * x[$1] } / 5
            #expect(abs(scores[0] - expected) < 1e-14 && scores[1] == 0)
        }
        // Nothing of what was drawn is among the sequences.
        #expect(evidence.scores(weights: [0, 3, 2, 0, 0]) == [0, 0])
    }

    @Test func frequencyIsTheShareOfScoredTokens() {
        let (fired, _) = entries([0, 1, 2])
        #expect(fired.scoredTokens == [39, 38, 38])
        #expect(fired.frequency[0] == 1 && fired.frequency[6] == 0)
        let (offsets, order) = fired.byLatent()
        for j in 0..<7 {
            let own = order[offsets[j]..<offsets[j + 1]].map { Int($0) }
            #expect(own == fired.latents.indices.filter { fired.latents[$0] == Int32(j) })
        }
    }
}
