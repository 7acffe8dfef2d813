import Attribution
import SparseCoding
import TestSupport
import Testing

@Suite struct ExplainedVarianceTests {
    /// In samples of unlike sizes: x̄ is the mean over all of them.
    @Test func itIsItsDefinitionOverReplacedPositions() throws {
        let golden = try GoldenSplice()
        let spliced = try golden.pass(NaiveGradientTimesActivation(), prefix: 32).spliced
        #expect(spliced.explainedVariance.value == nil)
        let whole = try golden.sample(keepFirst: 2), x = whole.residual, d = x.columns
        // A mean that is far from zero, so that it matters.
        for r in 0..<x.rows { for c in 0..<d { x[r, c] += 3 } }
        var errors = 0.0
        for sequences in [0..<1, 1..<4] {
            let rows = sequences.lowerBound * 24..<sequences.upperBound * 24
            let run = try spliced.run(
                SpliceSample(
                    tokens: golden.tokens.sequences(sequences), residual: x.copy(rows: rows),
                    replaced: Array(whole.replaced[rows])))
            for r in rows where whole.replaced[r] != 0 {
                for c in 0..<d {
                    let error = Double(x[r, c]) - Double(run.reconstruction[r - rows.lowerBound, c])
                    errors += error * error
                }
            }
        }
        let replaced = (0..<x.rows).filter { whole.replaced[$0] != 0 }
        #expect(replaced.count == 4 * 22)
        var variance = 0.0
        for c in 0..<d {
            let mean = replaced.reduce(0.0) { $0 + Double(x[$1, c]) } / Double(replaced.count)
            variance += replaced.reduce(0.0) { $0 + (Double(x[$1, c]) - mean) * (Double(x[$1, c]) - mean) }
        }
        // Sums of 4000 squares in Double; theirs subtracts the mean's square, some ten times what is left.
        let found = try #require(spliced.explainedVariance.value)
        #expect(abs(found - (1 - errors / variance)) < 1e-9 * max(1, errors / variance))
    }
}
