import LinearAlgebra
import SparseCoding

/// An SAE of the decoder rows of an SAE, a meta-SAE (Leask et al., arXiv:2502.04878): what it explains of them is structure that latents
/// share. The measure is that of Bussmann et al. (arXiv:2503.17547, appendix D.1) as sae-bench 0.6 takes it (`meta_structure`): BatchTopK
/// with a quarter as many latents, four a row, Adam at a constant rate on rows drawn with replacement; then, over batches of 4096 rows w,
///
///     1 − Σ‖w − ŵ‖² / Σ‖w − w̄‖².
///
/// The trainer is ours, with its start, unit rows and clip; sae-bench has SAELens'. Rows are taken as unit rows, as there.
public struct MetaStructure: Sendable {
    /// SAEBench's settings.
    public struct Plan: Sendable {
        /// Meta latents a row.
        public var widthRatio = 0.25
        /// Active meta latents a row, on average over a batch.
        public var k = 4
        public var steps = 1500
        public var batch = 1024
        public var learningRate = 5e-4
        public var seed: UInt64 = 42

        public init() {}

        /// Meta latents of so many rows: at least k.
        public func width(rows: Int) -> Int { max(Int((Double(rows) * widthRatio).rounded(.up)), k) }
    }

    /// ‖w − ŵ‖² and ‖w − w̄‖² `[rows]`.
    public let errors, variances: [Double]
    /// The meta latents of each row, rising.
    public let active: [[Int32]]

    /// Rows that meta latents are chosen over together.
    private static let lookedAt = 4096

    /// Trains on rows `[F, d]`; `rule` chooses over a batch. `progress` is told of steps.
    ///
    /// - Throws: `ResourceError`; `SparseCodingError`; what `progress` throws.
    public init(of rows: Matrix, _ plan: Plan, rule: any SparsityRule, progress: (Int) throws -> Void) throws {
        let width = plan.width(rows: rows.rows), d = rows.columns
        var need = MemoryNeed("a meta-SAE of \(rows.rows) rows needs", advice: "measure a smaller SAE")
        // Two matrices, their gradients, two moments each.
        need.add("parameters and their moments", 4, 8, width, d)
        need.add("batches", 4, 4, max(plan.batch, Self.lookedAt), d)
        try need.check()
        let layout = try PrefixLayout(groups: [width])
        let sae = SparseAutoencoder(dIn: d, layout: layout)
        sae.initialize(seed: plan.seed)
        var settings = TrainingSettings(k: Double(plan.k), batchSize: plan.batch, steps: plan.steps)
        (settings.learningRate, settings.warmupSteps, settings.decayStart) = (plan.learningRate, 0, .never)
        settings.decoderBiasStart = .keep
        // Latents are dead there after 2000 steps, more than are made: none gets an auxiliary loss.
        settings.auxiliaryWeight = 0
        let trainer = try Trainer(sae, plan: TrainingPlan(settings, dIn: d, layout: layout), rule: rule)
        let batch = try trainer.makeBatch()
        for step in 0..<plan.steps {
            let random = CounterRandom(seed: plan.seed, purpose: .decoderRows, step: UInt32(step))
            for i in 0..<plan.batch {
                batch.row(i).update(from: rows.row(Int(random.word(UInt64(i)) % UInt64(rows.rows))), count: d)
            }
            _ = try trainer.update(batch)
            try progress(1)
        }
        try trainer.bringBack()
        try self.init(of: rows, by: trainer.sae, k: Double(plan.k), rule: rule)
    }

    /// What a meta-SAE makes of rows.
    ///
    /// - Throws: `SparseCodingError`.
    public init(of rows: Matrix, by sae: SparseAutoencoder, k: Double, rule: any SparsityRule) throws {
        var mean = [Double](repeating: 0, count: rows.columns)
        for r in 0..<rows.rows { for c in mean.indices { mean[c] += Double(rows[r, c]) / Double(rows.rows) } }
        var (errors, variances, active) = ([Double](), [Double](), [[Int32]]())
        let encoder = SparseEncoder(), codes = SparseCodes()
        for first in stride(from: 0, to: rows.rows, by: Self.lookedAt) {
            let block = rows.copy(rows: first..<min(first + Self.lookedAt, rows.rows))
            let centered = Matrix(rows: block.rows, columns: block.columns)
            try encoder.center(block, for: sae, into: centered)
            _ = try encoder.select(
                centered, with: sae, rule: rule, SelectionContext(.infer, of: sae, rows: block.rows, meanActive: k),
                budget: .nonCore, into: codes)
            let again = sae.decode(codes)
            for r in 0..<block.rows {
                var (error, variance) = (0.0, 0.0)
                for c in 0..<block.columns {
                    let w = Double(block[r, c]), e = w - Double(again[r, c])
                    error += e * e
                    variance += (w - mean[c]) * (w - mean[c])
                }
                errors.append(error)
                variances.append(variance)
                active.append(codes.entries(ofRow: r).map { codes.columnIndices[$0] })
            }
        }
        (self.errors, self.variances, self.active) = (errors, variances, active)
    }

    /// Share of the variance of some rows that is explained; of all rows the measure.
    public func explained(_ rows: some Sequence<Int>) -> Double {
        var (error, variance) = (0.0, 0.0)
        for r in rows { (error, variance) = (error + errors[r], variance + variances[r]) }
        return 1 - error / variance
    }

    /// Meta latents that two different ones of these rows have in common, on average over all pairs: Σ_m n_m (n_m − 1) / n (n − 1).
    public func shared(_ rows: some Collection<Int>) -> Double {
        var counts: [Int32: Double] = [:]
        for r in rows { for m in active[r] { counts[m, default: 0] += 1 } }
        let n = Double(rows.count)
        // In one order, whatever that of a dictionary is.
        return counts.values.sorted().reduce(0) { $0 + $1 * ($1 - 1) } / (n * (n - 1))
    }

    /// ‖w − ŵ‖² over all numbers.
    public func meanSquare(columns: Int) -> Double {
        errors.reduce(0, +) / (Double(errors.count) * Double(columns))
    }

    /// What rows without structure of their own would come to.
    public enum Control: String, Sendable, CaseIterable, Codable {
        /// Directions drawn from all alike.
        case isotropic
        /// Sums of 64 drawn rows less their mean, with normal factors, and the mean: of the rows' mean and covariance, and little else.
        case covariance

        /// As many unit rows.
        public func rows(like rows: Matrix, seed: UInt64) -> Matrix {
            let (n, d) = (rows.rows, rows.columns)
            let random = CounterRandom(
                seed: seed, purpose: .decoderRows, step: UInt32.max - (self == .isotropic ? 0 : 1))
            let result = Matrix(rows: n, columns: d)
            var mean = [Double](repeating: 0, count: d)
            for r in 0..<n { for c in 0..<d { mean[c] += Double(rows[r, c]) / Double(n) } }
            for r in 0..<n {
                var row = [Double](repeating: 0, count: d)
                if self == .isotropic {
                    for c in 0..<d { row[c] = Double(random.normal(UInt64(r * d + c))) }
                } else {
                    row = mean
                    for i in 0..<64 {
                        let at = UInt64(r * 64 + i)
                        let source = Int(random.word(2 * at) % UInt64(n))
                        let factor = Double(random.normal(2 * at + 1)) / 8
                        for c in 0..<d { row[c] += factor * (Double(rows[source, c]) - mean[c]) }
                    }
                }
                let norm = row.reduce(0) { $0 + $1 * $1 }.squareRoot()
                for c in 0..<d { result[r, c] = norm > 0 ? Float(row[c] / norm) : 0 }
            }
            return result
        }
    }
}
