import Attribution
import Glibc
import LinearAlgebra
import SparseCoding
import TestSupport
import Testing

/// Meta-SAEs on rows whose structure is known, and measures from their definitions. Tests/Peers/saebench.py holds the whole against
/// sae-bench's own.
@Suite struct MetaStructureTests {
    /// 256 unit rows, each the sum of two of 16 directions in 24 dimensions.
    private static func rows() -> Matrix {
        let atoms = randomMatrix(16, 24, seed: 1, from: -1, to: 1), rows = Matrix(rows: 256, columns: 24)
        for r in 0..<256 {
            let pair = (r % 16, (r + 1 + r / 16 % 15) % 16)
            for c in 0..<24 { rows[r, c] = atoms[pair.0, c] + atoms[pair.1, c] }
            let norm = (0..<24).reduce(Float(0)) { $0 + rows[r, $1] * rows[r, $1] }.squareRoot()
            for c in 0..<24 { rows[r, c] /= norm }
        }
        return rows
    }

    private var plan: MetaStructure.Plan {
        var plan = MetaStructure.Plan()
        (plan.widthRatio, plan.k, plan.steps, plan.batch, plan.learningRate) = (0.125, 2, 400, 128, 5e-3)
        return plan
    }

    @Test func `rows made of few directions are explained, random ones are not`() throws {
        let rows = Self.rows()
        var steps = 0
        let found = try MetaStructure(of: rows, plan, rule: NaiveBatchTopK()) { steps += $0 }
        let all = found.explained(0..<256)
        #expect(steps == 400 && all > 0.8, "\(all)")
        let again = try MetaStructure(of: rows, plan, rule: NaiveBatchTopK()) { _ in }
        #expect(again.errors == found.errors && again.active == found.active)
        for control in MetaStructure.Control.allCases {
            let random = control.rows(like: rows, seed: 5)
            let other = try MetaStructure(of: random, plan, rule: NaiveBatchTopK()) { _ in }
            #expect(other.explained(0..<256) < all - 0.2, "\(control)")
        }
        struct Stop: Error {}
        #expect(throws: Stop.self) { try MetaStructure(of: rows, plan, rule: NaiveBatchTopK()) { _ in throw Stop() } }
    }

    @Test func `measures are what they are defined to be`() throws {
        let rows = Self.rows()
        let sae = SparseAutoencoder(dIn: 24, layout: try PrefixLayout(groups: [32]))
        sae.initialize(seed: 3)
        let found = try MetaStructure(of: rows, by: sae, k: 3, rule: NaiveBatchTopK())
        // Pre-activations of all rows, the 768 largest kept.
        var entries: [(value: Double, r: Int, m: Int)] = []
        for r in 0..<256 {
            for m in 0..<32 {
                let p = (0..<24).reduce(0.0) { $0 + Double(rows[r, $1]) * Double(sae.encoder[m, $1]) }
                if p > 0 { entries.append((p, r, m)) }
            }
        }
        entries.sort { $0.value > $1.value }
        var codes = [[Int: Double]](repeating: [:], count: 256)
        for entry in entries.prefix(768) { codes[entry.r][entry.m] = entry.value }
        var (error, variance) = (0.0, 0.0)
        let mean = (0..<24).map { c in (0..<256).reduce(0.0) { $0 + Double(rows[$1, c]) } / 256 }
        for r in 0..<256 {
            #expect(found.active[r].map(Int.init) == codes[r].keys.sorted())
            for c in 0..<24 {
                let again = codes[r].reduce(0.0) { $0 + $1.value * Double(sae.decoder[$1.key, c]) }
                error += (Double(rows[r, c]) - again) * (Double(rows[r, c]) - again)
                variance += (Double(rows[r, c]) - mean[c]) * (Double(rows[r, c]) - mean[c])
            }
        }
        // Codes and reconstructions are in single precision.
        #expect(isNear(found.explained(0..<256), 1 - error / variance, within: 1e-5))
        #expect(isNear(found.meanSquare(columns: 24), error / Double(256 * 24), within: 1e-5))
        let some = [3, 17, 40, 90, 200]
        var pairs = 0.0
        for a in some {
            for b in some where a != b { pairs += Double(Set(found.active[a]).intersection(found.active[b]).count) }
        }
        #expect(isNear(found.shared(some), pairs / 20, within: 1e-12))

        let layout = try PrefixLayout(groups: [64, 192], coreCount: 8)
        let parts = MetaStructureOutput.parts(found, layout, draws: 50, seed: 1)
        #expect(parts.map(\.latents) == ["core", "group 1", "group 2"] && parts.map(\.count) == [8, 62, 186])
        #expect(
            parts[0].variance_explained == found.explained(0..<8)
                && parts[1].shared_meta_latents == found.shared(8..<70))
        let others = try #require(parts[0].others_variance_explained)
        // Eight of the others, drawn 50 times: near the mean of all.
        #expect(
            others.low < others.value && others.value < others.high
                && abs(others.value - found.explained(8..<256)) < 0.2)
        // There are no 186 others.
        #expect(parts[2].others_variance_explained == nil)
    }

    @Test func `controls are unit rows, of the same mean and covariance where they are to be`() {
        let rows = Self.rows()
        let same = MetaStructure.Control.covariance.rows(like: rows, seed: 2)
        let any = MetaStructure.Control.isotropic.rows(like: rows, seed: 2)
        for matrix in [same, any] {
            for r in 0..<256 {
                #expect(
                    isNear((0..<24).reduce(0.0) { $0 + Double(matrix[r, $1]) * Double(matrix[r, $1]) }, 1, within: 1e-5)
                )
            }
        }
        // The direction in which the rows spread most: w·u of both spread alike, of isotropic ones less.
        func spread(_ matrix: Matrix, _ u: [Double]) -> Double {
            let along = (0..<256).map { r in (0..<24).reduce(0.0) { $0 + Double(matrix[r, $1]) * u[$1] } }
            let mean = along.reduce(0, +) / 256
            return along.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 256
        }
        var u = (0..<24).map { sin(Double($0) + 1) }
        for _ in 0..<100 {
            let along = (0..<256).map { r in (0..<24).reduce(0.0) { $0 + Double(rows[r, $1]) * u[$1] } }
            let mean = along.reduce(0, +) / 256
            u = (0..<24).map { c in (0..<256).reduce(0.0) { $0 + (along[$1] - mean) * Double(rows[$1, c]) } }
            let norm = u.reduce(0) { $0 + $1 * $1 }.squareRoot()
            u = u.map { $0 / norm }
        }
        // 256 rows tell a variance to 9%, and unit norm takes some of it.
        #expect(isNear(spread(same, u) / spread(rows, u), 1, within: 0.3))
        #expect(spread(any, u) < spread(rows, u) / 1.5)
    }
}
