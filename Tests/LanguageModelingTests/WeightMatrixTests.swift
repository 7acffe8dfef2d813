import Kernels
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// Products with weights in the form that they are stored in.
@Suite struct WeightMatrixTests {
    /// The upper halves of numbers.
    private func stored(_ x: Matrix) -> StoredRows {
        let halves = Matrix(rows: 1, columns: (x.count + 1) / 2)
        let target = UnsafeMutableRawPointer(halves.elements).bindMemory(to: UInt16.self, capacity: x.count)
        for i in 0..<x.count { target[i] = UInt16(x[i].bitPattern >> 16) }
        return StoredRows(target, .bf16, rows: x.rows, columns: x.columns, owner: halves)
    }

    /// Both products with W and with the same numbers in single precision.
    private func check(_ weight: WeightMatrix, tokens n: Int) {
        let whole = WeightMatrix(weight.matrix().copy())
        #expect(weight.single == nil && whole.panelCount == 0)
        let panel = Matrix(rows: 1, columns: weight.panelCount)
        let (x, dy) = (randomMatrix(n, weight.columns, seed: 2), randomMatrix(n, weight.rows, seed: 3))
        func both(_ weight: WeightMatrix) -> (y: Matrix, dx: Matrix) {
            // The first is added to what is there, whatever the second held is overwritten.
            let (y, dx) = (randomMatrix(n, weight.rows, seed: 4), randomMatrix(n, weight.columns, seed: 5))
            weight.apply(to: x.view, into: y.mutableView, adding: 1, panel: panel.elements, on: .shared)
            weight.applyTransposed(to: dy.view, into: dx.mutableView, panel: panel.elements, on: .shared)
            return (y, dx)
        }
        let (own, single) = (both(weight), both(whole))
        #expect(own.y.values == single.y.values)
        // Panels after the first are added to what is there, so sums over `out` have another order: a few roundings of 6e-8 in
        // 150 terms, of the largest sum.
        checkClose(own.dx.values, single.dx.values, tolerance: 1e-6, "dx")
        extendLifetime((panel, x, dy))
    }

    @Test func `a weight of one panel has the bits of single precision`() {
        let weight = WeightMatrix(stacking: [ReadWeight(name: "w", rows: stored(randomMatrix(96, 160, seed: 1)))])
        #expect(weight.panelCount == 96 * 160)
        check(weight, tokens: 17)
        let panel = Matrix(rows: 1, columns: weight.panelCount)
        let dy = randomMatrix(5, 96, seed: 6)
        let (own, single) = (Matrix(rows: 5, columns: 160), Matrix(rows: 5, columns: 160))
        weight.applyTransposed(to: dy.view, into: own.mutableView, panel: panel.elements, on: .shared)
        WeightMatrix(weight.matrix()).applyTransposed(
            to: dy.view, into: single.mutableView, panel: panel.elements, on: .shared)
        #expect(own.values == single.values)
        extendLifetime((panel, dy))
    }

    @Test func `a large weight goes by in panels`() {
        let columns = 1 << 16
        #expect(WeightMatrix.panelRows(columns: columns) == 64)
        let weight = WeightMatrix(
            stacking: [ReadWeight(name: "w", rows: stored(randomMatrix(150, columns, seed: 1)))])
        #expect(weight.panelCount == 64 * columns)
        check(weight, tokens: 3)
    }

    @Test func `rows of several forms are stacked in their order`() {
        let (a, b, c) = (randomMatrix(5, 32, seed: 1), randomMatrix(7, 32, seed: 2), randomMatrix(3, 32, seed: 3))
        // Blocks of one row each: a scale of 1 (0x3C00), then 32 bytes.
        let bytes = (0..<3).flatMap { r -> [UInt8] in
            [0, 0x3C] + (0..<32).map { UInt8(truncatingIfNeeded: 17 * r + $0) }
        }
        let blocks = Matrix(rows: 1, columns: 26)
        bytes.withUnsafeBytes {
            UnsafeMutableRawPointer(blocks.elements).copyMemory(from: $0.baseAddress!, byteCount: 102)
        }
        let quants = StoredRows(blocks.elements, .q8_0, rows: 3, columns: 32, owner: blocks)
        let weight = WeightMatrix(stacking: [
            ReadWeight(name: "a", rows: StoredRows(a)), ReadWeight(name: "b", rows: stored(b), order: [6, 0, 3]),
            ReadWeight(name: "c", rows: quants, order: [2, 0]), ReadWeight(name: "d", rows: StoredRows(c)),
        ])
        #expect(weight.rows == 13)
        func upper(_ r: Int) -> [Float] {
            b.copy(rows: r..<r + 1).values.map { Float(bitPattern: $0.bitPattern & 0xFFFF_0000) }
        }
        func quant(_ r: Int) -> [Float] { (0..<32).map { Float(Int8(truncatingIfNeeded: 17 * r + $0)) } }
        let expected = a.values + upper(6) + upper(0) + upper(3) + quant(2) + quant(0) + c.values
        #expect(weight.matrix().values == expected)
        let some = Matrix(rows: 5, columns: 32)
        weight.widen(4..<9, into: some.elements)
        #expect(some.values == Array(expected[4 * 32..<9 * 32]))
    }

    @Test func `numbers that are none are found in every form`() {
        for (row, column) in [(0, 0), (2, 15), (5, 31)] {
            for bad in [Float.nan, .infinity, -.infinity] {
                let x = randomMatrix(6, 32, seed: 1)
                #expect(WeightMatrix(x).isFinite)
                #expect(WeightMatrix(stacking: [ReadWeight(name: "w", rows: stored(x))]).isFinite)
                x[row, column] = bad
                #expect(!WeightMatrix(x).isFinite)
                #expect(!WeightMatrix(stacking: [ReadWeight(name: "w", rows: stored(x))]).isFinite)
            }
        }
    }
}
