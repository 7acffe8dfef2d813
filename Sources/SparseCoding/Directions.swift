import Kernels
import LinearAlgebra

/// Directions of latents, as unit vectors: of the encoder (what makes a latent fire) or of the decoder (what it writes).
public struct Directions: Sendable {
    /// Which of the two.
    public enum Side: String, Sendable, Codable, CaseIterable { case encoder, decoder }

    /// [n, D] unit rows.
    public let rows: Matrix
    /// [n] the latent of each row: those whose vector is 0 have no direction.
    public let latents: [Int]

    /// Of vectors [n, D], that of latent j in row j. Norms are taken in Double.
    public init(_ vectors: Matrix) {
        let d = vectors.columns
        let norms = (0..<vectors.rows).map { j in
            (0..<d).reduce(0.0) { $0 + Double(vectors[j, $1]) * Double(vectors[j, $1]) }.squareRoot()
        }
        latents = norms.indices.filter { norms[$0] > 0 }
        rows = Matrix(rows: latents.count, columns: d)
        for (i, j) in latents.enumerated() {
            for c in 0..<d { rows[i, c] = Float(Double(vectors[j, c]) / norms[j]) }
        }
    }

    /// So many unit vectors drawn evenly over all directions: what is like them is so by chance.
    public static func random(_ count: Int, dIn: Int, seed: UInt64) -> Directions {
        let random = CounterRandom(seed: seed, purpose: .randomDirections)
        let vectors = Matrix(rows: count, columns: dIn)
        for i in 0..<vectors.count { vectors[i] = random.normal(UInt64(i)) }
        return Directions(vectors)
    }
}

/// How alike two sets of directions are: cos(aᵢ, bⱼ) of all pairs. Signed, since a latent fires on one side of its direction only.
public struct DirectionMatch: Sendable {
    /// [n] for each of a: its largest cosine with one of b, and which of b that is.
    public let best: [(cosine: Float, index: Int)]
    /// [m] for each of b, the same with one of a.
    public let bestBack: [(cosine: Float, index: Int)]
    /// The cosines of the pairs of the optimal assignment, min(n, m) of them in the order of the smaller set; nil if it was not asked
    /// for.
    public let matched: [Float]?

    /// Compares two sets, neither empty.
    ///
    /// - Parameter done: told of each pair that the assignment has found, if it is asked for.
    /// - Throws: what `done` throws; `ResourceError.memory` for a table of cosines that does not fit.
    public init(_ a: Directions, _ b: Directions, assigning: Bool, lanes: Lanes = .shared, done: () throws -> Void = {})
        throws
    {
        let (n, m) = (a.rows.rows, b.rows.rows)
        precondition(n > 0 && m > 0 && a.rows.columns == b.rows.columns, "directions of unlike spaces")
        var need = MemoryNeed(
            "comparing \(n) with \(m) latents needs", advice: "compare fewer, with --latents core or --latents inner")
        need.add("cosines", 4, n, m)
        try need.check()
        let isTurned = n > m
        let (rows, columns) = isTurned ? (b.rows, a.rows) : (a.rows, b.rows)
        let cosines = Matrix(rows: rows.rows, columns: columns.rows)
        lanes.multiply(rows.view, columns.view.transposed, into: cosines.mutableView)
        let byRow = Self.best(cosines), byColumn = Self.bestOfColumns(cosines)
        (best, bestBack) = isTurned ? (byColumn, byRow) : (byRow, byColumn)
        guard assigning else {
            matched = nil
            return
        }
        let assignment = try OptimalAssignment(maximizing: cosines, done: done)
        matched = assignment.columns.enumerated().map { cosines[$0, $1] }
    }

    /// Of equal ones the lower index.
    private static func best(_ cosines: Matrix) -> [(cosine: Float, index: Int)] {
        (0..<cosines.rows).map { i in
            var best = (cosine: cosines[i, 0], index: 0)
            for j in 1..<max(1, cosines.columns) where cosines[i, j] > best.cosine { best = (cosines[i, j], j) }
            return best
        }
    }

    private static func bestOfColumns(_ cosines: Matrix) -> [(cosine: Float, index: Int)] {
        var best = (0..<cosines.columns).map { (cosine: cosines[0, $0], index: 0) }
        for i in 1..<max(1, cosines.rows) {
            for j in 0..<cosines.columns where cosines[i, j] > best[j].cosine { best[j] = (cosines[i, j], i) }
        }
        return best
    }

    /// Mean over a of the largest cosine with one of b (MMCS).
    public var meanBest: Double { Self.mean(best.map(\.cosine)) }

    /// The same over b.
    public var meanBestBack: Double { Self.mean(bestBack.map(\.cosine)) }

    /// Mean over the pairs of the optimal assignment: the dictionaries' mean correlation coefficient, whose mean over all pairs of
    /// several SAEs is PW-MCC (arXiv:2505.20254).
    public var meanMatched: Double? { matched.map(Self.mean) }

    /// Share of the pairs of the optimal assignment of at least this cosine.
    public func shareMatched(atLeast cosine: Float) -> Double? {
        matched.map { Double($0.count { $0 >= cosine }) / Double($0.count) }
    }

    private static func mean(_ values: [Float]) -> Double {
        values.reduce(0) { $0 + Double($1) } / Double(values.count)
    }
}
