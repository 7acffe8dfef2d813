import Attribution
import LinearAlgebra
import TestSupport
import Testing

/// What every aggregate of a latent is, from all its scores at once.
private struct NaiveScores {
    /// Per latent, one score per token, 0 where silent.
    var dense: [[Double]]
    var active: [[Double]]

    /// numpy.quantile(values, q, method="linear").
    static func quantile(_ values: [Double], _ q: Double) -> Double {
        let sorted = values.sorted()
        let h = Double(sorted.count - 1) * q
        let (low, high) = (Int(h.rounded(.down)), min(Int(h.rounded(.down)) + 1, sorted.count - 1))
        return sorted[low] + (h - h.rounded(.down)) * (sorted[high] - sorted[low])
    }

    func value(_ j: Int, _ aggregate: Aggregate, _ scope: AggregateScope) -> Double {
        guard !active[j].isEmpty else { return 0 }
        let values = scope == .all ? dense[j] : active[j]
        switch aggregate {
        case .quantile(let q): return Self.quantile(values, q)
        case .mean: return values.reduce(0, +) / Double(values.count)
        case .rootMeanSquare: return (values.reduce(0) { $0 + $1 * $1 } / Double(values.count)).squareRoot()
        case .maximum: return values.max()!
        case .trimmedMean(let p):
            let kept = values.sorted().dropFirst(Int(Double(values.count) * p)).dropLast(Int(Double(values.count) * p))
            return kept.reduce(0, +) / Double(kept.count)
        }
    }
}

@Suite struct ScoreAccumulatorTests {
    /// Scores of `tokens` tokens over latents that fire ever less often: always, every second token, … and never.
    private func batches(_ tokens: Int, latents: Int, seed: UInt64) -> [(codes: SparseCodes, scores: [Float])] {
        let random = CounterRandom(seed: seed, purpose: .test)
        return stride(from: 0, to: tokens, by: 37).map { start in
            let rows = min(37, tokens - start)
            let dense = Matrix(rows: rows, columns: latents)
            for r in 0..<rows {
                for j in 0..<(latents - 1) where (start + r) % (1 << (2 * j)) == 0 { dense[r, j] = 1 }
            }
            let codes = SparseCodes(dense: dense)
            // Some scores repeat and some are exactly 0 although the latent fires.
            let scores = (0..<codes.count).map { e in
                Float(Int(random.block(UInt64(start * latents + e)).x % 41) - 20) / 8
            }
            return (codes, scores)
        }
    }

    private func check(
        tokens: Int, _ aggregate: Aggregate, _ scope: AggregateScope, signed: Bool, announced: Int? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let latents = 6
        let accumulator = ScoreAccumulator(
            latents: latents, tokens: announced ?? tokens, aggregate: aggregate, scope: scope, isSigned: signed)
        var naive = NaiveScores(
            dense: [[Double]](repeating: [], count: latents), active: [[Double]](repeating: [], count: latents))
        for (codes, scores) in batches(tokens, latents: latents, seed: 1) {
            scores.withUnsafeBufferPointer { accumulator.add(codes, $0, tokens: codes.rows) }
            for r in 0..<codes.rows {
                var row = [Double](repeating: 0, count: latents)
                for e in codes.entries(ofRow: r) {
                    let score = signed ? Double(scores[e]) : abs(Double(scores[e]))
                    row[Int(codes.columnIndices[e])] = score
                    naive.active[Int(codes.columnIndices[e])].append(score)
                }
                for j in 0..<latents { naive.dense[j].append(row[j]) }
            }
        }
        #expect(accumulator.tokenCount == tokens, sourceLocation: sourceLocation)
        #expect(accumulator.activeCounts == naive.active.map(\.count), sourceLocation: sourceLocation)
        let results = accumulator.result()
        #expect(results.count == latents, sourceLocation: sourceLocation)
        for (j, found) in results.enumerated() {
            // Scores are eighths: sums are exact, and only the interpolation and the root round.
            let expected = naive.value(j, aggregate, scope)
            #expect(
                isNear(found, expected, within: 1e-13), "latent \(j): \(found), \(expected)",
                sourceLocation: sourceLocation)
        }
    }

    @Test(arguments: [0, 0.01, 0.25, 0.5, 0.9, 0.99, 1], [false, true])
    func quantilesAreNumpysWithZerosAndSigns(_ q: Double, _ signed: Bool) {
        for tokens in [1, 2, 3, 36, 100, 101, 500] {
            for scope in AggregateScope.allCases { check(tokens: tokens, .quantile(q), scope, signed: signed) }
        }
    }

    @Test(arguments: [0.9, 0.99, 1]) func trimmedTailsGiveTheSameQuantile(_ q: Double) {
        // Latents that fire on every and on every fourth token have more than twice the tail and 64 scores.
        for signed in [false, true] { check(tokens: 3000, .quantile(q), .all, signed: signed) }
    }

    @Test(arguments: [100, 400]) func fewerTokensThanAnnouncedStillHaveTheirQuantile(_ tokens: Int) {
        // Positions that keep the model's own activation are not scored: the bound is the tokens run.
        check(tokens: tokens, .quantile(0.9), .all, signed: false, announced: 500)
    }

    @Test(
        arguments: [Aggregate.mean, .rootMeanSquare, .maximum, .trimmedMean(0.05), .trimmedMean(0.3)], [false, true])
    func meansAndMaximaAreOverTheTokensAskedFor(_ aggregate: Aggregate, _ signed: Bool) {
        for tokens in [1, 2, 50, 500] {
            for scope in AggregateScope.allCases { check(tokens: tokens, aggregate, scope, signed: signed) }
        }
    }

    private static let ordered: [Aggregate] = [
        .quantile(0), .quantile(0.3), .quantile(0.9), .quantile(0.99), .quantile(1), .trimmedMean(0.01),
        .trimmedMean(0.3),
    ]

    /// Scores over eight decades, some negative, some 0.
    private func wide(_ count: Int, seed: UInt64) -> [Float] {
        let random = CounterRandom(seed: seed, purpose: .test)
        return (0..<count).map { i in
            let x = random.uniform(UInt64(2 * i)), sign: Float = random.uniform(UInt64(2 * i + 1)) < 0.3 ? -1 : 1
            var magnitude: Float = x
            for _ in 0..<(i % 8) { magnitude /= 10 }
            return i % 11 == 0 ? 0 : sign * magnitude
        }
    }

    @Test(arguments: [0, 4000, 1 << 20], [false, true])
    func beyondTheMemoryResultsAreToTheStatedError(_ memory: Int, _ signed: Bool) {
        for aggregate in Self.ordered {
            for scope in AggregateScope.allCases {
                func accumulator(_ memory: Int) -> ScoreAccumulator {
                    ScoreAccumulator(
                        latents: 3, tokens: 5000, aggregate: aggregate, scope: scope, isSigned: signed, memory: memory)
                }
                let (exact, bounded) = (accumulator(1 << 30), accumulator(memory))
                for start in stride(from: 0, to: 5000, by: 100) {
                    let dense = Matrix(rows: 100, columns: 3)
                    for r in 0..<100 { for j in 0..<3 where (start + r) % (1 << (3 * j)) == 0 { dense[r, j] = 1 } }
                    let codes = SparseCodes(dense: dense)
                    wide(codes.count, seed: UInt64(start)).withUnsafeBufferPointer {
                        exact.add(codes, $0, tokens: 100)
                        bounded.add(codes, $0, tokens: 100)
                    }
                }
                if memory == 0 { #expect(bounded.relativeError == 0x1p-8) }
                #expect(exact.relativeError == 0)
                let error = bounded.relativeError
                for (a, b) in paired(exact.result(), bounded.result()) {
                    // A quantile lies between two order statistics, each to the error; a mean of both signs to that of its
                    // largest term, 1.
                    let scale: Double
                    if case .trimmedMean = aggregate, signed { scale = 1 } else { scale = abs(a) }
                    #expect(abs(a - b) <= error * scale * 1.01, "\(aggregate) \(scope): \(b) for \(a)")
                }
            }
        }
    }

    /// numpy.quantile([0, 0, 0, 1, 2, 4], q), computed with numpy 2.
    @Test func quantilesMatchNumpysOwnNumbers() {
        for (q, expected) in [(0.0, 0.0), (0.5, 0.5), (0.6, 1.0), (0.7, 1.5), (0.9, 3.0), (0.99, 3.9), (1.0, 4.0)] {
            #expect(abs(OrderedScores([4, 2, 1], zeros: 3).quantile(q, count: 6) - expected) < 1e-12)
        }
        // With a negative score below the zeros: [−3, 0, 0, 5].
        for (q, expected) in [(0.0, -3.0), (0.1, -2.1), (0.5, 0.0), (0.9, 3.5)] {
            #expect(abs(OrderedScores([5, -3], zeros: 2).quantile(q, count: 4) - expected) < 1e-12)
        }
    }

    @Test func aggregatesAreReadAsTheyAreWritten() throws {
        for text in [
            "mean", "rms", "max", "quantile:0.99", "quantile:0.5", "quantile:0.0", "quantile:1.0", "trimmed:0.01",
        ] {
            #expect(try Aggregate(text).description == text)
        }
        #expect(try Aggregate("quantile:1") == .quantile(1))
        for text in [
            "", "median", "quantile", "quantile:", "quantile:1.1", "quantile:-0.1", "quantile:nan", "Mean",
            "trimmed:0.5",
        ] {
            #expect(
                message { _ = try Aggregate(text) }
                    == "\"\(text)\" is no aggregate; use quantile:Q with Q in [0, 1], trimmed:P with P in [0, 0.5), mean, rms or max"
            )
        }
    }
}
