import LinearAlgebra
import SparseCoding
import TestSupport
import Testing

@Suite struct DirectionTests {
    @Test func rowsAreUnitVectorsAndThoseOfZerosAreLeftOut() {
        let vectors = Matrix(rows: 3, columns: 2)
        (vectors[0, 0], vectors[0, 1], vectors[2, 1]) = (3, -4, 1e-30)
        let directions = Directions(vectors)
        #expect(directions.latents == [0, 2])
        #expect(directions.rows.values == [0.6, -0.8, 0, 1])
    }

    /// Against every cosine in Double; single precision in 24 dimensions rounds to 2e-7.
    @Test(arguments: [(30, 50), (50, 30)]) func cosinesAreThoseOfAllPairs(_ n: Int, _ m: Int) throws {
        let a = Directions(randomMatrix(n, 24, seed: 1, from: -1, to: 1))
        let b = Directions(randomMatrix(m, 24, seed: 2, from: -1, to: 1))
        func cosine(_ i: Int, _ j: Int) -> Double {
            (0..<24).reduce(0) { $0 + Double(a.rows[i, $1]) * Double(b.rows[j, $1]) }
        }
        let match = try DirectionMatch(a, b, assigning: true)
        let there = (0..<n).map { i in (0..<m).map { cosine(i, $0) }.max()! }
        let back = (0..<m).map { j in (0..<n).map { cosine($0, j) }.max()! }
        checkClose(match.best.map(\.cosine), there, tolerance: 1e-6, "there")
        checkClose(match.bestBack.map(\.cosine), back, tolerance: 1e-6, "back")
        #expect(match.best.enumerated().allSatisfy { abs(cosine($0, $1.index) - Double($1.cosine)) <= 1e-6 })
        #expect(match.bestBack.enumerated().allSatisfy { abs(cosine($1.index, $0) - Double($1.cosine)) <= 1e-6 })
        #expect(abs(match.meanBest - there.reduce(0, +) / Double(n)) <= 1e-6)
        #expect(match.matched?.count == min(n, m))
        #expect(try #require(match.meanMatched) <= (n < m ? match.meanBest : match.meanBestBack))
    }

    /// Of three latents two are the same in another order, one is the opposite: signed cosines tell it apart.
    @Test func theOppositeIsNotTheSame() throws {
        let a = Directions(randomMatrix(3, 64, seed: 4, from: -1, to: 1))
        // The fourth is there for the one that has no like.
        let other = randomMatrix(4, 64, seed: 5, from: -1, to: 1)
        for c in 0..<64 {
            (other[0, c], other[1, c], other[2, c]) = (5 * a.rows[2, c], -a.rows[1, c], 0.1 * a.rows[0, c])
        }
        let match = try DirectionMatch(a, Directions(other), assigning: true)
        #expect(match.best.map(\.index) == [2, match.best[1].index, 0])
        #expect(match.shareMatched(atLeast: 0.9) == 2.0 / 3 && match.shareMatched(atLeast: -1) == 1)
        #expect(match.best[1].cosine < 0.5)
    }

    /// √(2 ln n / d) for n random directions in d dimensions, a little less for n as small as this.
    @Test func whatIsAlikeByChanceIsLittle() throws {
        let a = Directions.random(500, dIn: 400, seed: 1), b = Directions.random(500, dIn: 400, seed: 2)
        let match = try DirectionMatch(a, b, assigning: false)
        #expect(match.matched == nil && (0.13...0.176).contains(match.meanBest), "\(match.meanBest)")
    }
}
