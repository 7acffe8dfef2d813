import LinearAlgebra
import TestSupport
import Testing

@Suite struct ProductsTests {
    private static let orientations: [Orientation] = [.normal, .transposed]

    /// op(A)·op(B) in Double, and the same of absolute values: what rounding is relative to.
    private func naive(
        _ a: Matrix, _ orientA: Orientation, _ b: Matrix, _ orientB: Orientation
    ) -> (products: [Double], sizes: [Double]) {
        let (m, k) = orientA == .normal ? (a.rows, a.columns) : (a.columns, a.rows)
        let n = orientB == .normal ? b.columns : b.rows
        var (products, sizes) = ([Double](), [Double]())
        for i in 0..<m {
            for j in 0..<n {
                var (sum, size) = (0.0, 0.0)
                for l in 0..<k {
                    let x = orientA == .normal ? a[i, l] : a[l, i]
                    let y = orientB == .normal ? b[l, j] : b[j, l]
                    sum += Double(x) * Double(y)
                    size += abs(Double(x) * Double(y))
                }
                products.append(sum)
                sizes.append(size)
            }
        }
        return (products, sizes)
    }

    @Test(arguments: [(1, 1, 1), (3, 5, 7), (16, 16, 16), (33, 17, 65), (50, 40, 130)])
    func productsMatchInEveryOrientation(_ m: Int, _ n: Int, _ k: Int) {
        for orientA in Self.orientations {
            for orientB in Self.orientations {
                for beta: Float in [0, 1, -0.5] {
                    let a = orientA == .normal ? randomMatrix(m, k, seed: 1) : randomMatrix(k, m, seed: 1)
                    let b = orientB == .normal ? randomMatrix(k, n, seed: 2) : randomMatrix(n, k, seed: 2)
                    let c = randomMatrix(m, n, seed: 3)
                    let before = c.values
                    Lanes(count: 2).multiply(a, orientA, b, orientB, into: c, adding: beta)
                    let (products, sizes) = naive(a, orientA, b, orientB)
                    for i in 0..<c.count {
                        let old = Double(beta) * Double(before[i])
                        // k roundings of a sum of k products at the most, and those of adding the old value.
                        let bound = Double(k + 3) * 0x1p-24 * (sizes[i] + abs(old))
                        #expect(abs(Double(c[i]) - products[i] - old) <= bound)
                    }
                }
            }
        }
    }

    @Test func aProductWithoutBetaOverwritesNaN() {
        let c = Matrix(rows: 2, columns: 2)
        c.fill(.nan)
        Lanes.shared.multiply(
            Matrix(rows: 2, columns: 1, [1, 2]), .normal, Matrix(rows: 1, columns: 2, [3, 4]), .normal, into: c)
        #expect(c.values == [3, 4, 6, 8])
    }

    @Test func stridesSelectAPartOfAMatrix() {
        // The middle columns of A times the first rows of B into a corner of C; the rest of C stays.
        let (a, b, c) = (randomMatrix(5, 9, seed: 4), randomMatrix(6, 8, seed: 5), Matrix(rows: 7, columns: 10))
        c.fill(9)
        multiplyOnLane(4, 3, 6, 2, a.elements + 2, 9, .normal, b.elements, 8, .normal, 0, c.elements, 10)
        for i in 0..<7 {
            for j in 0..<10 {
                var expected = 0.0
                for l in 0..<6 where i < 4 && j < 3 { expected += 2 * Double(a[i, l + 2]) * Double(b[l, j]) }
                if i >= 4 || j >= 3 { expected = 9 }
                #expect(abs(Double(c[i, j]) - expected) < 1e-5)
            }
        }
    }

    private func bits(_ m: Int, _ n: Int, _ k: Int, _ orientA: Orientation, _ orientB: Orientation, lanes: Int)
        -> [UInt32]
    {
        let a = orientA == .normal ? randomMatrix(m, k, seed: 6) : randomMatrix(k, m, seed: 6)
        let b = orientB == .normal ? randomMatrix(k, n, seed: 7) : randomMatrix(n, k, seed: 7)
        let c = Matrix(rows: m, columns: n)
        Lanes(count: lanes).multiply(a, orientA, b, orientB, into: c)
        return c.values.map(\.bitPattern)
    }

    @Test(arguments: orientations, orientations)
    func theSameNumberOfLanesGivesTheSameBits(_ orientA: Orientation, _ orientB: Orientation) {
        for lanes in [1, 2, 3, 7] {
            for (m, n, k) in [(448, 100, 200), (250, 130, 48), (17, 64, 576)] {
                let first = bits(m, n, k, orientA, orientB, lanes: lanes)
                expectSame(bits(m, n, k, orientA, orientB, lanes: lanes), first, "\(m) × \(n) × \(k), \(lanes) lanes")
            }
        }
    }

    /// 2016 rows over 1, 2, 3 or 7 lanes: every lane starts at a multiple of 48, hence of the 12 and the 16 rows that
    /// kernels round together, and each element's sum over k has one order.
    @Test(arguments: orientations, orientations)
    func lanesThatStartWhereARowGroupDoesGiveTheBitsOfOne(_ orientA: Orientation, _ orientB: Orientation) {
        for (n, k) in [(40, 200), (64, 48), (17, 600)] {
            let one = bits(2016, n, k, orientA, orientB, lanes: 1)
            for lanes in [2, 3, 7] {
                expectSame(bits(2016, n, k, orientA, orientB, lanes: lanes), one, "\(n) × \(k), \(lanes) lanes")
            }
        }
    }
}

@Suite struct MatrixTests {
    @Test(arguments: [(1, 1), (3, 50), (33, 65), (64, 32)])
    func transposingMovesEveryElement(_ rows: Int, _ columns: Int) {
        let a = randomMatrix(rows, columns)
        let b = a.transposed()
        #expect(b.rows == columns && b.columns == rows)
        for r in 0..<rows {
            for c in 0..<columns { #expect(b[c, r] == a[r, c]) }
        }
        #expect(b.transposed().values == a.values)
    }

    @Test func aNewMatrixIsZeroAndAligned() {
        let a = Matrix(rows: 7, columns: 5)
        #expect(a.values == [Float](repeating: 0, count: 35))
        #expect(Int(bitPattern: a.elements) % 64 == 0)
    }

    @Test func copiesAreSeparate() {
        let a = randomMatrix(6, 4)
        let (whole, part) = (a.copy(), a.copy(rows: 2..<4))
        a.fill(0)
        #expect(whole.values == randomMatrix(6, 4).values)
        #expect(part.values == Array(whole.values[8..<16]))
    }

    @Test func oneBadElementIsNotFinite() {
        let a = Matrix(rows: 3, columns: 3)
        #expect(a.isFinite)
        for bad: Float in [.nan, .infinity, -.infinity] {
            a[2, 2] = bad
            #expect(!a.isFinite)
        }
    }
}
