import Glibc
import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles

/// An SAE held against the features that its activations are made of: with SAELens' measures of synthetic data (their names, its
/// definitions), and which latents are the features that the loss depends on.
///
/// Latent j stands for the feature m(j) with the largest |cos| between decoder row and direction. All positions but the first of a sequence
/// count.
public final class FeatureEvaluation {
    private let sae: SparseAutoencoder
    private let model: SyntheticModel
    private let encoder = SparseEncoder()
    private let codes = SparseCodes()
    /// `[F]` m(j) and its |cos|.
    public let match: [(feature: Int, cosine: Float)]
    private var latentFires: [Int], featureFires: [Int], both: [Int]
    /// Σ over positions of what the loss rises by when a feature is taken out, `[n]`.
    private var lossChange: [Double]
    private var (positions, entries, trueEntries) = (0, 0, 0)
    private var (error, square, shrinkage) = (0.0, 0.0, 0.0)
    private var sum: [Double]

    /// - Throws: `SyntheticError.otherWidth`.
    public init(_ sae: SparseAutoencoder, of model: SyntheticModel) throws {
        guard sae.dIn == model.configuration.dModel else {
            throw SyntheticError.otherWidth(sae: sae.dIn, world: model.configuration.dModel)
        }
        (self.sae, self.model) = (sae, model)
        let n = model.world.settings.features
        let cosines = try Self.cosines(sae, model.world)
        match = (0..<sae.dSAE).map { j in
            var best = (feature: 0, cosine: cosines[j, 0])
            for i in 1..<max(1, n) where cosines[j, i] > best.cosine { best = (i, cosines[j, i]) }
            return best
        }
        latentFires = [Int](repeating: 0, count: sae.dSAE)
        both = latentFires
        featureFires = [Int](repeating: 0, count: n)
        lossChange = [Double](repeating: 0, count: n)
        sum = [Double](repeating: 0, count: sae.dIn)
    }

    /// |cos| of decoder rows and directions `[F, n]`; 0 for a row that is 0.
    private static func cosines(_ sae: SparseAutoencoder, _ world: SyntheticWorld) throws -> Matrix {
        let n = world.directions.rows
        var need = MemoryNeed(
            "comparing \(sae.dSAE) latents with \(n) features needs", advice: "take a smaller SAE or world")
        need.add("cosines", 8, sae.dSAE, n)
        try need.check()
        let rows = Matrix(rows: sae.dSAE, columns: sae.dIn)
        for j in 0..<sae.dSAE {
            let norm = (0..<sae.dIn).reduce(0.0) { $0 + Double(sae.decoder[j, $1]) * Double(sae.decoder[j, $1]) }
                .squareRoot()
            guard norm > 0 else { continue }
            for c in 0..<sae.dIn { rows[j, c] = Float(Double(sae.decoder[j, c]) / norm) }
        }
        let result = Matrix(rows: sae.dSAE, columns: n)
        Lanes.shared.multiply(rows.view, world.directions.view.transposed, into: result.mutableView)
        for i in 0..<result.count { result[i] = abs(result[i]) }
        return result
    }

    /// Counts the positions of some sequences, padding left out.
    ///
    /// - Throws: what the SAE refuses.
    public func add(_ batch: TokenBatch) throws {
        let hook = HookPoint.residPost(0)
        let x = try model.residual(of: batch, at: hook)
        let losses = try model.losses(of: batch, residual: x, at: hook)
        try encoder.encode(x, with: sae, into: codes)
        let reconstruction = sae.decode(codes)
        let targets = batch.targets
        var firing = FiringFeatures(model.world)
        var isFiring = [Bool](repeating: false, count: featureFires.count)
        var removed: [(row: Int, feature: Int, magnitude: Float)] = []
        for s in 0..<batch.sequenceCount {
            let tokens = batch.ids[s * batch.length..<(s + 1) * batch.length]
            for row in tokens.indices.prefix(batch.counts?[s] ?? batch.length).dropFirst() {
                firing.draw(after: tokens[tokens.startIndex...row])
                positions += 1
                trueEntries += firing.features.count
                for i in firing.features {
                    featureFires[i] += 1
                    isFiring[i] = true
                }
                for e in Int(codes.rowOffsets[row])..<Int(codes.rowOffsets[row + 1]) where codes.values[e] > 0 {
                    let j = Int(codes.columnIndices[e])
                    entries += 1
                    latentFires[j] += 1
                    if isFiring[match[j].feature] { both[j] += 1 }
                }
                for i in firing.features { isFiring[i] = false }
                addReconstruction(x.row(row), reconstruction.row(row))
                guard targets[row] >= 0 else { continue }
                for (i, z) in zip(firing.features, firing.magnitudes) { removed.append((row, i, z)) }
            }
        }
        addLossChanges(removed, x, losses, targets)
    }

    private func addReconstruction(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>) {
        var (own, other) = (0.0, 0.0)
        for c in 0..<sae.dIn {
            let (a, b) = (Double(x[c]), Double(y[c]))
            error += (a - b) * (a - b)
            own += a * a
            other += b * b
            sum[c] += a
        }
        square += own
        if own > 0 { shrinkage += (other / own).squareRoot() }
    }

    /// The loss of x − zᵢ dᵢ less that of x.
    private func addLossChanges(
        _ removed: [(row: Int, feature: Int, magnitude: Float)], _ x: Matrix, _ losses: [Float], _ targets: [Int32]
    ) {
        // So many rows at a time as take 16 MiB, or one.
        let step = max(1, (4 << 20) / max(x.columns, model.configuration.vocabularySize))
        for first in stride(from: 0, to: removed.count, by: step) {
            let part = removed[first..<min(first + step, removed.count)]
            let without = Matrix(rows: part.count, columns: x.columns)
            for (r, entry) in part.enumerated() {
                let direction = model.world.directions.row(entry.feature)
                for c in 0..<x.columns { without[r, c] = x[entry.row, c] - entry.magnitude * direction[c] }
            }
            let found = model.losses(of: without, targets: part.map { targets[$0.row] })
            for (entry, loss) in zip(part, found) {
                lossChange[entry.feature] += Double(loss) - Double(losses[entry.row])
            }
        }
    }

    // MARK: Findings

    /// What taking a feature out adds to the loss, nats a position, `[n]`.
    public var usefulness: [Double] { lossChange.map { $0 / Double(max(1, positions)) } }

    /// Measures under SAELens' names.
    public struct Findings: Codable, Sendable, Equatable {
        public struct Classification: Codable, Sendable, Equatable {
            public var precision, recall, f1_score, accuracy: Double
        }
        /// Positions they are of.
        public var tokens: Int
        /// Features, and latents, that fire at a position in the mean.
        public var true_l0, sae_l0: Double
        /// Latents that never fired.
        public var dead_latents: Int
        /// Mean ‖x̂‖/‖x‖.
        public var shrinkage: Double
        /// 1 − Σ‖x − x̂‖²/Σ‖x − x̄‖²; nil where all x are alike.
        public var explained_variance: Double?
        /// Mean |cos| of the pairs of the optimal assignment of latents and features.
        public var mcc: Double
        /// Different features that latents stand for, over latents.
        public var uniqueness: Double
        /// Each latent as a detector of its feature, means over latents.
        public var classification: Classification
        /// Parts of the SAE.
        public var sets: [String: SetFindings]
    }

    /// A file of it.
    public struct Record: Codable, Sendable {
        public var findings: Findings
        /// Everything that the numbers depend on.
        public var origin: [String: String]

        public init(_ findings: Findings, origin: [String: String]) {
            (self.findings, self.origin) = (findings, origin)
        }
    }

    /// Some latents as a choice of the features that the loss depends on. `m` of them are held against the m most useful features.
    public struct SetFindings: Codable, Sendable, Equatable {
        /// m.
        public var latents: Int
        /// Share of them that stand for a feature with |cos| ≥ 0.7.
        public var matched: Double
        /// Different features of those.
        public var features: Int
        /// How often these fire in the mean.
        public var frequency: Double?
        /// Share of the m most useful features among them.
        public var useful_found: Double
        /// What they are worth, Σ of the nats a position, over what the m most useful features are worth.
        public var usefulness: Double
        /// usefulness of as many other latents of the same part drawn at random: the mean, and what 95% of draws lie between.
        public var chance: Chance?
    }

    public struct Chance: Codable, Sendable, Equatable {
        public var mean, low, high: Double
    }

    /// The cosine from which on a latent is taken for a feature.
    public static let sameness: Float = 0.7

    /// - Parameters:
    ///   - sets: Latents by name, and those that as many are drawn from for comparison.
    ///   - done: told of each row of the assignment.
    /// - Throws: what `done` throws.
    public func findings(
        sets: [String: (latents: [Int], others: [Int])], draws: Int, seed: UInt64, done: () throws -> Void = {}
    ) throws -> Findings {
        let mean = sum.reduce(0) { $0 + $1 * $1 } / Double(max(1, positions))
        let variance = square - mean
        var (precision, recall, f1, accuracy) = (0.0, 0.0, 0.0, 0.0)
        for j in 0..<sae.dSAE {
            let (fires, feature) = (Double(latentFires[j]), Double(featureFires[match[j].feature]))
            let p = fires > 0 ? Double(both[j]) / fires : 0, r = feature > 0 ? Double(both[j]) / feature : 0
            precision += p
            recall += r
            f1 += p + r > 0 ? 2 * p * r / (p + r) : 0
            accuracy += 1 - (fires + feature - 2 * Double(both[j])) / Double(max(1, positions))
        }
        let latents = Double(sae.dSAE), useful = usefulness
        let order = useful.indices.sorted { (useful[$1], $0) < (useful[$0], $1) }
        var parts: [String: SetFindings] = [:]
        for (name, set) in sets where !set.latents.isEmpty {
            parts[name] = self.set(set.latents, useful, order)
            guard set.others.count >= set.latents.count else { continue }
            let drawn = (0..<draws).map { draw in
                let random = CounterRandom(seed: seed, purpose: .randomCore, step: UInt32(draw))
                let some = random.permutation(set.others.count).prefix(set.latents.count).map { set.others[Int($0)] }
                return self.set(some, useful, order).usefulness
            }.sorted()
            parts[name]?.chance = Chance(
                mean: drawn.reduce(0, +) / Double(drawn.count), low: drawn[Int(0.025 * Double(drawn.count))],
                high: drawn[min(drawn.count - 1, Int(0.975 * Double(drawn.count)))])
        }
        return Findings(
            tokens: positions, true_l0: Double(trueEntries) / Double(max(1, positions)),
            sae_l0: Double(entries) / Double(max(1, positions)), dead_latents: latentFires.count { $0 == 0 },
            shrinkage: shrinkage / Double(max(1, positions)),
            explained_variance: variance > 1e-9 * square ? 1 - error / variance : nil,
            mcc: try meanMatched(done), uniqueness: Double(Set(match.map(\.feature)).count) / latents,
            classification: .init(
                precision: precision / latents, recall: recall / latents, f1_score: f1 / latents,
                accuracy: accuracy / latents),
            sets: parts)
    }

    private func set(_ latents: [Int], _ useful: [Double], _ order: [Int]) -> SetFindings {
        let same = latents.filter { match[$0].cosine >= Self.sameness }
        let features = Set(same.map { match[$0].feature })
        let best = order.prefix(latents.count)
        let worth = best.reduce(0) { $0 + max(0, useful[$1]) }
        return SetFindings(
            latents: latents.count, matched: Double(same.count) / Double(latents.count), features: features.count,
            frequency: features.isEmpty
                ? nil
                : Double(features.reduce(0) { $0 + featureFires[$1] }) / Double(features.count * max(1, positions)),
            useful_found: Double(features.intersection(best).count) / Double(latents.count),
            usefulness: worth > 0 ? features.sorted().reduce(0) { $0 + max(0, useful[$1]) } / worth : 0)
    }

    private func meanMatched(_ done: () throws -> Void) throws -> Double {
        let cosines = try Self.cosines(sae, model.world)
        var values = cosines
        if cosines.rows > cosines.columns {
            values = Matrix(rows: cosines.columns, columns: cosines.rows)
            for j in 0..<cosines.rows { for i in 0..<cosines.columns { values[i, j] = cosines[j, i] } }
        }
        let columns = try OptimalAssignment(maximizing: values, done: done).columns
        return columns.enumerated().reduce(0) { $0 + Double(values[$1.offset, $1.element]) } / Double(columns.count)
    }

    /// Latents in falling order of how often they fired.
    public func mostFrequent(_ count: Int, of latents: [Int]) -> [Int] {
        Array(latents.sorted { (latentFires[$1], $0) < (latentFires[$0], $1) }.prefix(count))
    }
}
