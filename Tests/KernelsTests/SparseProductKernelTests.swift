import Kernels
import LinearAlgebra
import TestSupport
import Testing

/// Sparse products by latent against sums in Double.
///
/// Bounds as in `VectorKernelTests`: two roundings a term, and the terms' sizes.
@Suite struct SparseProductKernelTests {
    /// 7 latents over 9 rows: one without an entry, one with an entry in every row, repeated and single rows.
    private static let rowsOfLatent = [[0, 3, 8], [], [0, 1, 2, 3, 4, 5, 6, 7, 8], [5], [2, 2, 7], [8], [1, 6]]
    private static let rowCount = 9
    /// Every path: 64, 32 and 16 columns at a time and single ones, and all together.
    private static let widths = [1, 15, 16, 17, 32, 47, 48, 64, 80, 96, 113, 128, 144]

    private final class Entries {
        let offsets: UnsafeMutablePointer<Int>
        let rows: UnsafeMutablePointer<Int32>
        let values: GuardedRow

        init() {
            let lists = SparseProductKernelTests.rowsOfLatent
            offsets = .allocate(capacity: lists.count + 1)
            offsets.initialize(to: 0)
            for (j, list) in lists.enumerated() { (offsets + j + 1).initialize(to: offsets[j] + list.count) }
            let all = lists.flatMap { $0 }
            rows = .allocate(capacity: all.count)
            for (e, row) in all.enumerated() { (rows + e).initialize(to: Int32(row)) }
            values = GuardedRow(random: all.count, seed: 70)
        }

        deinit {
            offsets.deallocate()
            rows.deallocate()
        }

        func callAsFunction(_ latents: Range<Int>) -> LatentEntries {
            LatentEntries(
                starts: offsets, ends: offsets + 1, rows: rows, values: values.pointer, latents: latents)
        }
    }

    private func near(_ found: Float, _ terms: [Double], from start: Double = 0) -> Bool {
        let size = terms.reduce(abs(start)) { $0 + abs($1) }
        return abs(Double(found) - terms.reduce(start, +)) <= Double(2 * terms.count + 20) * rounding * size
    }

    /// Latents 1..<6 of 7, so that both ends are there to be overrun.
    private let latents = 1..<6

    @Test(arguments: levels, widths) func addsALatentsRowWhereItFired(_ level: ProcessorLevel, _ width: Int) {
        let entries = Entries()
        let (strideY, strideX) = (width + 3, width + 5)
        let y = GuardedRow(random: Self.rowCount * strideY, seed: 71)
        let x = GuardedRow(random: 7 * strideX, seed: 72)
        let before = y.doubles
        level.kernels.addRowsByLatent(y.pointer, strideY, -0.7, entries(latents), x.pointer, strideX, width)
        let factor = Double(Float(-0.7))
        for r in 0..<Self.rowCount {
            for c in 0..<strideY {
                var terms: [Double] = []
                for j in latents where c < width {
                    for e in entries.offsets[j]..<entries.offsets[j + 1] where Int(entries.rows[e]) == r {
                        terms.append(factor * entries.values.doubles[e] * x.doubles[j * strideX + c])
                    }
                }
                // Between rows nothing is touched.
                #expect(near(y.values[r * strideY + c], terms, from: before[r * strideY + c]), "row \(r), column \(c)")
            }
        }
        #expect(y.isIntact)
    }

    @Test(arguments: levels, widths) func sumsTheRowsOfALatent(_ level: ProcessorLevel, _ width: Int) {
        for withProducts in [false, true] {
            let entries = Entries()
            let (strideY, strideX) = (width + 3, width + 5)
            let y = GuardedRow(random: 7 * strideY, seed: 73)
            let x = GuardedRow(random: Self.rowCount * strideX, seed: 74)
            let w = GuardedRow(random: 7 * strideY, seed: 75)
            let before = y.values
            var squares = [Double](repeating: 1, count: 7)
            let products = GuardedRow(random: entries.values.count, seed: 76)
            let productsBefore = products.doubles
            if withProducts {
                level.kernels.sumRowsByLatentWithProducts(
                    y.pointer, strideY, entries(latents), x.pointer, strideX, width, &squares, w.pointer,
                    products.pointer)
            } else {
                level.kernels.sumRowsByLatent(
                    y.pointer, strideY, entries(latents), x.pointer, strideX, width, &squares)
            }
            for j in 0..<7 {
                let own = entries.offsets[j]..<entries.offsets[j + 1]
                let isSummed = latents.contains(j) && !own.isEmpty
                for c in 0..<strideY {
                    let found = y.values[j * strideY + c]
                    // A latent without entries keeps its row.
                    guard isSummed, c < width else {
                        #expect(found == before[j * strideY + c])
                        continue
                    }
                    let terms = own.map {
                        entries.values.doubles[$0] * x.doubles[Int(entries.rows[$0]) * strideX + c]
                    }
                    #expect(near(found, terms), "latent \(j), column \(c)")
                }
                let row = (0..<width).map { y.doubles[j * strideY + $0] }
                let square = isSummed ? row.reduce(1) { $0 + $1 * $1 } : 1
                // Single precision within 64 columns.
                #expect(abs(squares[j] - square) <= 20 * rounding * square)
                for e in own {
                    let terms = (0..<width).map {
                        x.doubles[Int(entries.rows[e]) * strideX + $0] * w.doubles[j * strideY + $0]
                    }
                    let added = withProducts && isSummed
                    #expect(near(products.values[e], added ? terms : [], from: productsBefore[e]), "entry \(e)")
                }
            }
            #expect(y.isIntact && products.isIntact)
        }
    }
}
