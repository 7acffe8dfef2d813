import LinearAlgebra
import TestSupport
import Testing

@Suite struct SparseCodesTests {
    /// About one entry in `every` is not zero.
    private func sparse(_ rows: Int, _ columns: Int, every: Int, seed: UInt64) -> Matrix {
        let result = randomMatrix(rows, columns, seed: seed)
        let random = CounterRandom(seed: seed, purpose: .test, step: 7)
        for i in 0..<result.count where random.block(UInt64(i)).x % UInt32(every) != 0 { result[i] = 0 }
        return result
    }

    @Test(arguments: [(0, 0, 1), (1, 1, 1), (5, 7, 3), (40, 300, 20), (200, 1000, 1)])
    func denseAndBackIsTheSame(_ rows: Int, _ columns: Int, _ every: Int) {
        let dense = sparse(rows, columns, every: every, seed: 1)
        let codes = SparseCodes(dense: dense)
        if rows == 0 { #expect(codes.dense().values == []) } else { expectSame(codes.dense().values, dense.values) }
        #expect(codes.count == dense.values.count { $0 != 0 })
        #expect(codes.rowOffsets[0] == 0)
        for r in 0..<rows {
            let columnsOfRow = codes.entries(ofRow: r).map { codes.columnIndices[$0] }
            #expect(zip(columnsOfRow, columnsOfRow.dropFirst()).allSatisfy { $0 < $1 })
        }
    }

    @Test func emptyRowsKeepTheirPlace() {
        let dense = Matrix(rows: 4, columns: 3, [0, 0, 0, 0, 5, 0, 0, 0, 0, 7, 0, 8])
        let codes = SparseCodes(dense: dense)
        #expect((0..<4).map { codes.entries(ofRow: $0).count } == [0, 1, 0, 2])
    }

    @Test func growingKeepsWhatIsThere() {
        let dense = sparse(20, 50, every: 3, seed: 2)
        let codes = SparseCodes(dense: dense)
        for capacity in [10, 2000, 2001, 100_000] { codes.reserve(capacity) }
        expectSame(codes.dense().values, dense.values)
        codes.columnIndices[99_999] = 1
        codes.values[99_999] = 1
    }

    @Test func aResetForgetsTheEntriesAndTakesTheNewShape() {
        let codes = SparseCodes(dense: sparse(20, 50, every: 2, seed: 3))
        for (rows, columns) in [(3, 9), (100, 2000), (0, 5)] {
            codes.reset(rows: rows, columns: columns, capacity: 64)
            #expect(codes.rows == rows && codes.columns == columns && codes.count == 0)
            #expect((0..<rows).allSatisfy { codes.entries(ofRow: $0).isEmpty })
        }
    }
}
