import LinearAlgebra
import TestSupport
import Testing

@Suite struct ProductsTests {
    /// A factor that is stored as it is or as its transpose.
    private struct Factor {
        let stored: Matrix
        let isTransposed: Bool

        init(_ rows: Int, _ columns: Int, seed: UInt64, isTransposed: Bool) {
            stored = isTransposed ? randomMatrix(columns, rows, seed: seed) : randomMatrix(rows, columns, seed: seed)
            self.isTransposed = isTransposed
        }

        var view: MatrixView { isTransposed ? stored.view.transposed : stored.view }

        subscript(r: Int, c: Int) -> Double { Double(isTransposed ? stored[c, r] : stored[r, c]) }
    }

    /// A·B [m, n] over k in Double, and the same of absolute values: what rounding is relative to.
    private func naive(_ a: Factor, _ b: Factor, _ m: Int, _ n: Int, _ k: Int) -> (products: [Double], sizes: [Double])
    {
        var (products, sizes) = ([Double](), [Double]())
        for i in 0..<m {
            for j in 0..<n {
                var (sum, size) = (0.0, 0.0)
                for l in 0..<k {
                    let (x, y) = (a[i, l], b[l, j])
                    sum += x * y
                    size += abs(x * y)
                }
                products.append(sum)
                sizes.append(size)
            }
        }
        return (products, sizes)
    }

    @Test(arguments: [(1, 1, 1), (3, 5, 7), (16, 16, 16), (33, 17, 65), (50, 40, 130)])
    func productsMatchInEveryOrientation(_ m: Int, _ n: Int, _ k: Int) {
        for turned in [(false, false), (false, true), (true, false), (true, true)] {
            for (alpha, beta) in [(Float(1), Float(0)), (1, 1), (1, -0.5), (-0.75, 1)] {
                let a = Factor(m, k, seed: 1, isTransposed: turned.0), b = Factor(k, n, seed: 2, isTransposed: turned.1)
                let c = randomMatrix(m, n, seed: 3)
                let before = c.values
                Lanes(count: 2).multiply(a.view, b.view, into: c.mutableView, scale: alpha, adding: beta)
                let (products, sizes) = naive(a, b, m, n, k)
                for i in 0..<c.count {
                    let (new, old) = (Double(alpha) * products[i], Double(beta) * Double(before[i]))
                    // k roundings of a sum of k products at the most, and those of adding the old value.
                    let bound = Double(k + 4) * 0x1p-24 * (sizes[i] + abs(old))
                    #expect(abs(Double(c[i]) - new - old) <= bound)
                }
            }
        }
    }

    @Test func aProductWithoutBetaOverwritesNaN() {
        let c = Matrix(rows: 2, columns: 2)
        c.fill(.nan)
        let (a, b) = (Matrix(rows: 2, columns: 1, [1, 2]), Matrix(rows: 1, columns: 2, [3, 4]))
        Lanes.shared.multiply(a.view, b.view, into: c.mutableView)
        #expect(c.values == [3, 4, 6, 8])
        extendLifetime((a, b))
    }

    @Test func stridesSelectAPartOfAMatrix() {
        // The middle columns of A times the first rows of B into a corner of C; the rest of C stays.
        let (a, b, c) = (randomMatrix(5, 9, seed: 4), randomMatrix(6, 8, seed: 5), Matrix(rows: 7, columns: 10))
        c.fill(9)
        multiplyOnLane(
            a.view.rows(0..<4).columns(2..<8), b.view.columns(0..<3), into: c.mutableView.rows(0..<4).columns(0..<3),
            scale: 2)
        for i in 0..<7 {
            for j in 0..<10 {
                var expected = 0.0
                for l in 0..<6 where i < 4 && j < 3 { expected += 2 * Double(a[i, l + 2]) * Double(b[l, j]) }
                if i >= 4 || j >= 3 { expected = 9 }
                #expect(abs(Double(c[i, j]) - expected) < 1e-5)
            }
        }
    }

    /// Of a product [m, n] over k.
    private func bits(m: Int, n: Int, k: Int, _ isATransposed: Bool, _ isBTransposed: Bool, lanes: Int) -> [UInt32] {
        let a = Factor(m, k, seed: 6, isTransposed: isATransposed)
        let b = Factor(k, n, seed: 7, isTransposed: isBTransposed)
        let c = Matrix(rows: m, columns: n)
        Lanes(count: lanes).multiply(a.view, b.view, into: c.mutableView)
        return c.values.map(\.bitPattern)
    }

    @Test(arguments: [false, true], [false, true])
    func theSameNumberOfLanesGivesTheSameBits(_ isATransposed: Bool, _ isBTransposed: Bool) {
        for lanes in [1, 2, 3, 7] {
            for (m, n, k) in [(448, 100, 200), (250, 130, 48), (17, 64, 576)] {
                let first = bits(m: m, n: n, k: k, isATransposed, isBTransposed, lanes: lanes)
                expectSame(
                    bits(m: m, n: n, k: k, isATransposed, isBTransposed, lanes: lanes), first,
                    "\(m) × \(n) × \(k), \(lanes) lanes")
            }
        }
    }

    /// 2016 rows over 1, 2, 3 or 7 lanes: every lane starts at a multiple of 48, hence of the 12 and the 16 rows that
    /// kernels round together, and each element's sum over k has one order.
    @Test(arguments: [false, true], [false, true])
    func lanesThatStartWhereARowGroupDoesGiveTheBitsOfOne(_ isATransposed: Bool, _ isBTransposed: Bool) {
        for (n, k) in [(40, 200), (64, 48), (17, 600)] {
            let one = bits(m: 2016, n: n, k: k, isATransposed, isBTransposed, lanes: 1)
            for lanes in [2, 3, 7] {
                expectSame(
                    bits(m: 2016, n: n, k: k, isATransposed, isBTransposed, lanes: lanes), one,
                    "\(n) × \(k), \(lanes) lanes")
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
