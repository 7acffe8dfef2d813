import LinearAlgebra
import TestSupport
import Testing

@Suite struct OptimalAssignmentTests {
    /// The largest sum over all ways to give each row a column of its own.
    private func best(_ values: Matrix, _ row: Int = 0, _ taken: Set<Int> = []) -> Double {
        guard row < values.rows else { return 0 }
        return (0..<values.columns).filter { !taken.contains($0) }
            .map { Double(values[row, $0]) + best(values, row + 1, taken.union([$0])) }.max() ?? -.infinity
    }

    private func sum(_ assignment: OptimalAssignment, _ values: Matrix) -> Double {
        assignment.columns.enumerated().reduce(0) { $0 + Double(values[$1.offset, $1.element]) }
    }

    /// Prices that no value exceeds and that what is matched attains, free columns having the least price, prove that no matching
    /// is better. Sums of few numbers below 1 in Double.
    private func checkPrices(_ assignment: OptimalAssignment, _ values: Matrix) {
        #expect(Set(assignment.columns).count == values.rows)
        for i in 0..<values.rows {
            for j in 0..<values.columns {
                let slack = assignment.rowPrices[i] + assignment.columnPrices[j] - Double(values[i, j])
                #expect(
                    slack >= -1e-12 && (assignment.columns[i] != j || slack <= 1e-12), "row \(i), column \(j): \(slack)"
                )
            }
        }
        let free = Set(0..<values.columns).subtracting(assignment.columns)
        #expect(free.allSatisfy { assignment.columnPrices[$0] == 0 } && assignment.columnPrices.allSatisfy { $0 >= 0 })
    }

    @Test(arguments: [(1, 1), (1, 5), (3, 3), (4, 6), (6, 6), (5, 7)]) func itIsTheBestOfAll(_ n: Int, _ m: Int) throws
    {
        for seed in 0..<20 {
            let isWhole = seed % 2 == 1
            // Whole numbers: many ties.
            let values =
                isWhole ? wholeMatrix(n, m, seed: UInt64(seed), bound: 2) : randomMatrix(n, m, seed: UInt64(seed))
            let assignment = try OptimalAssignment(maximizing: values)
            #expect(abs(sum(assignment, values) - best(values)) <= 1e-12)
            checkPrices(assignment, values)
        }
    }

    @Test(arguments: [(60, 60), (40, 90)]) func ofMoreThePricesProveIt(_ n: Int, _ m: Int) throws {
        let values = randomMatrix(n, m, seed: 5, from: -1, to: 1)
        checkPrices(try OptimalAssignment(maximizing: values), values)
    }

    @Test func aPermutationIsFound() throws {
        let order = CounterRandom(seed: 3, purpose: .test).permutation(200)
        let values = randomMatrix(200, 200, seed: 1, from: 0, to: 0.5)
        for (i, j) in order.enumerated() { values[i, Int(j)] = 1 }
        #expect(try OptimalAssignment(maximizing: values).columns == order.map { Int($0) })
    }
}
