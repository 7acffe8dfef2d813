import Attribution
import Glibc
import LinearAlgebra
import SparseCoding

/// A batch whose loss is known in closed form, so that a scorer is checked exactly without a language model:
///
///     loss_t = ½‖x̂_t − y_t‖²,  g_t = x̂_t − y_t;  removing a·w from x̂_t changes loss_t by −a⟨g_t, w⟩ + ½a²‖w‖²
///
/// Every token's loss depends on its own x̂ alone, which is causal.
final class QuadraticModel: SplicedEvaluation, @unchecked Sendable {
    let batch: ScoringBatch
    let target: Matrix

    let preferredGroups = 16
    /// How many groups may be asked for; nil for no limit.
    private(set) var budget: Int?
    /// How many were.
    private(set) var asked = 0
    var remainingGroups: Int? { budget.map { max(0, $0 - asked) } }

    /// A random batch of `sequences` sequences; decoder rows of many norms, the first position of each not scored.
    ///
    /// With `hasUnitRows` they have norm 1, and activations are within a factor of two, far above their means over all
    /// tokens: then removal is what setting to the mean is, but for a factor.
    init(
        seed: UInt64, sequences S: Int = 2, length T: Int = 12, latents m: Int = 24, dimensions d: Int = 8,
        perToken: Int = 5, activations: Float = 1, hasUnitRows: Bool = false
    ) {
        let N = S * T
        func matrix(_ rows: Int, _ step: UInt32) -> Matrix {
            let result = Matrix(rows: rows, columns: d)
            CounterRandom(seed: seed, purpose: .test, step: step).fill(
                UnsafeMutableBufferPointer(start: result.elements, count: result.count), from: -1, to: 1)
            return result
        }
        let random = CounterRandom(seed: seed, purpose: .test, step: 9)
        let codes = SparseCodes(rows: N, columns: m, capacity: N * perToken)
        var used = 0
        for t in 0..<N {
            // Distinct ascending columns: one in each of perToken stretches.
            for s in 0..<(t % T == 0 ? 0 : perToken) {
                let from = s * m / perToken, to = (s + 1) * m / perToken
                guard to > from else { continue }
                codes.columnIndices[used] = Int32(from + Int(random.word(UInt64(used)) % UInt64(to - from)))
                let value = random.uniform(UInt64(used))
                codes.values[used] = (hasUnitRows ? 0.5 + 0.5 * value : value + 0.01) * activations
                used += 1
            }
            codes.rowOffsets[t + 1] = Int64(used)
        }
        let decoder = matrix(m, 1), bias = matrix(1, 2), residual = matrix(N, 3)
        for j in 0..<m {
            let norm = (0..<d).reduce(Float(0)) { $0 + decoder[j, $1] * decoder[j, $1] }.squareRoot()
            for i in 0..<d { decoder[j, i] *= hasUnitRows ? 1 / norm : Float(1 + j % 3) }
        }
        let reconstruction = Matrix(rows: N, columns: d), gradient = Matrix(rows: N, columns: d)
        let noise = matrix(N, 4)
        target = Matrix(rows: N, columns: d)
        var loss = [Float](repeating: 0, count: N)
        var scored = [UInt8](repeating: 1, count: N)
        for t in 0..<N {
            if t % T == 0 { scored[t] = 0 }
            for i in 0..<d {
                var x = bias[i]
                for e in codes.entries(ofRow: t) { x += codes.values[e] * decoder[Int(codes.columnIndices[e]), i] }
                if scored[t] == 0 { x = residual[t, i] }
                reconstruction[t, i] = x
                // Most latents help: the target is what they make, and noise. Noise alone where rows have norm 1: a
                // gradient that all tokens share would cancel in the effect of setting to the mean.
                target[t, i] = (hasUnitRows ? 1 : 1.5) * x + noise[t, i]
                gradient[t, i] = x - target[t, i]
                loss[t] += 0.5 * gradient[t, i] * gradient[t, i]
            }
        }
        var batch = ScoringBatch(
            codes: codes, decoder: decoder, decoderBias: bias, residual: residual, reconstruction: reconstruction,
            gradient: gradient, loss: loss, tokens: (0..<Int32(N)).map { $0 % 50 },
            sequenceOffsets: (0...S).map { Int64($0 * T) }, scored: scored, firstToken: 0, coreCount: 0,
            prefixWidths: [Int64(m)], splicedWidth: m, errorTermAdded: false)
        batch.addWhatIsNeeded(length: T)
        self.batch = batch
        length = T
    }

    let length: Int

    /// A model of a batch and what its losses measure the distance to.
    init(_ batch: ScoringBatch, target: Matrix, length: Int) {
        var batch = batch
        batch.addWhatIsNeeded(length: length)
        self.batch = batch
        self.target = target
        self.length = length
    }

    /// The same model with latent j's activations times `factor(j)` and its decoder row divided by it: x̂ stays.
    func scaled(by factor: (Int) -> Float) -> QuadraticModel {
        var batch = batch
        batch.decoder = self.batch.decoder.copy(rows: 0..<self.batch.decoder.rows)
        for j in 0..<batch.decoder.rows { for i in 0..<d { batch.decoder[j, i] /= factor(j) } }
        let codes = self.batch.codes
        batch.codes = SparseCodes(rows: codes.rows, columns: codes.columns, capacity: codes.count)
        batch.codes.rowOffsets.update(from: codes.rowOffsets, count: codes.rows + 1)
        batch.codes.columnIndices.update(from: codes.columnIndices, count: codes.count)
        for e in 0..<codes.count { batch.codes.values[e] = codes.values[e] * factor(Int(codes.columnIndices[e])) }
        return QuadraticModel(batch, target: target, length: length)
    }

    /// The same model, handed out with a gradient that is not its own.
    func withGradient(of value: Float) -> QuadraticModel {
        var batch = batch
        batch.gradient = Matrix(rows: batch.gradient.rows, columns: d)
        batch.gradient.fill(value)
        return QuadraticModel(batch, target: target, length: length)
    }

    /// Lets so many groups be asked for from now on.
    func limit(to groups: Int?) { (budget, asked) = (groups, 0) }

    func spend(_ groups: Int) throws {
        if let remaining = remainingGroups, remaining < groups {
            throw AttributionError.budgetExhausted(asked: groups, remaining: remaining)
        }
        asked += groups
    }

    /// The same model with its latents in another order, where each entry went, and each latent.
    func renumbered() -> (model: QuadraticModel, entries: [Int], numbers: [Int]) {
        let codes = batch.codes, m = codes.columns
        // Multiplying by a number that shares no factor with m permutes 0..<m.
        let step = (m / 3..<m + m).first { gcd($0, m) == 1 } ?? 1
        let decoder = Matrix(rows: m, columns: d)
        for j in 0..<m { decoder.row(j * step % m).update(from: batch.decoder.row(j), count: d) }
        let other = SparseCodes(rows: codes.rows, columns: m, capacity: codes.count)
        other.rowOffsets.update(from: codes.rowOffsets, count: codes.rows + 1)
        var entries = [Int](repeating: 0, count: codes.count)
        for t in 0..<codes.rows {
            let moved = codes.entries(ofRow: t).map { ($0, Int(codes.columnIndices[$0]) * step % m) }
            for (at, (e, j)) in zip(codes.entries(ofRow: t), moved.sorted { $0.1 < $1.1 }) {
                other.columnIndices[at] = Int32(j)
                other.values[at] = codes.values[e]
                entries[e] = at
            }
        }
        var batch = batch
        batch.codes = other
        batch.decoder = decoder
        return (QuadraticModel(batch, target: target, length: length), entries, (0..<m).map { $0 * step % m })
    }

    /// The same model among `count` latents, its own at the numbers from `first` on; the others never fire.
    func placed(from first: Int, of count: Int) -> QuadraticModel {
        var batch = batch
        batch.decoder = Matrix(rows: count, columns: d)
        batch.decoder.fill(3)
        let codes = self.batch.codes
        for j in 0..<codes.columns { batch.decoder.row(first + j).update(from: self.batch.decoder.row(j), count: d) }
        batch.codes = SparseCodes(rows: codes.rows, columns: count, capacity: codes.count)
        batch.codes.rowOffsets.update(from: codes.rowOffsets, count: codes.rows + 1)
        batch.codes.values.update(from: codes.values, count: codes.count)
        for e in 0..<codes.count { batch.codes.columnIndices[e] = codes.columnIndices[e] + Int32(first) }
        batch.prefixWidths = [Int64(count)]
        batch.splicedWidth = count
        return QuadraticModel(batch, target: target, length: length)
    }

    private func gcd(_ a: Int, _ b: Int) -> Int { b == 0 ? a : gcd(b, a % b) }

    /// The batch with this model to answer.
    var asking: ScoringBatch {
        var batch = batch
        batch.evaluation = self
        return batch
    }

    var d: Int { target.columns }

    func loss(_ t: Int, _ row: UnsafePointer<Float>) -> Double {
        var sum = 0.0
        for i in 0..<d {
            let difference = Double(row[i]) - Double(target[t, i])
            sum += 0.5 * difference * difference
        }
        return sum
    }

    private func activation(_ t: Int, _ latent: Int) -> Float {
        for e in batch.codes.entries(ofRow: t) where Int(batch.codes.columnIndices[e]) == latent {
            return batch.codes.values[e]
        }
        return 0
    }

    func lossChanges(_ groups: [EditGroup]) throws -> [Double] {
        try changes(groups, of: .loss)
    }

    /// x̂ of a group's sequence with its edits made, [T, d].
    private func edited(_ group: EditGroup) -> Matrix {
        let tokens = group.sequence * length..<(group.sequence + 1) * length
        let rows = batch.reconstruction.copy(rows: tokens)
        for edit in group.edits {
            for t in edit.tokens where tokens.contains(t) && batch.scored[t] != 0 {
                let row = rows.row(t - tokens.lowerBound)
                switch edit.change {
                case .rows(let source):
                    row.update(from: source + (t - edit.tokens.lowerBound) * d, count: d)
                case .scale(let j, let factor): add((factor - 1) * activation(t, j), j, row)
                case .set(let j, let value): add(value - activation(t, j), j, row)
                }
            }
        }
        return rows
    }

    func changes(_ groups: [EditGroup], of metric: EvaluationMetric) throws -> [Double] {
        try batch.check(groups)
        try check(metric)
        try spend(groups.count)
        return groups.map { group in
            let tokens = group.sequence * length..<(group.sequence + 1) * length
            let rows = edited(group)
            var change = 0.0
            for t in tokens {
                let after = value(metric.kind, t, rows.row(t - tokens.lowerBound))
                group.losses?[t - tokens.lowerBound] = Float(after)
                change += weight(metric, t) * (after - value(metric.kind, t, batch.reconstruction.row(t)))
            }
            return change
        }
    }

    private func add(_ change: Float, _ j: Int, _ row: UnsafeMutablePointer<Float>) {
        for i in 0..<d { row[i] += change * batch.decoder[j, i] }
    }

    /// The batch is the whole pass.
    func meanActivations() throws -> MeanActivations.Values { means(of: 0..<batch.sequenceOffsets.count - 1) }

    /// How active latents are in some of the sequences.
    func means(of sequences: some Sequence<Int>) -> MeanActivations.Values {
        var scored = 0
        var sums = [Double](repeating: 0, count: batch.codes.columns)
        for t in sequences.lazy.flatMap({ $0 * self.length..<($0 + 1) * self.length }) {
            scored += Int(batch.scored[t])
            for e in batch.codes.entries(ofRow: t) {
                sums[Int(batch.codes.columnIndices[e])] += Double(batch.codes.values[e])
            }
        }
        return MeanActivations.Values(means: sums.map { $0 / Double(max(1, scored)) }, scoredTokens: scored)
    }

    func gradients(at points: [GradientPoint]) throws -> [Double] {
        try gradients(at: points, of: .loss, rule: .plain)
    }

    func gradients(along paths: [GradientPath], alphas: [Double], weights: [Double]) throws {
        try gradients(along: paths, alphas: alphas, weights: weights, of: .loss, rule: .plain)
    }
}

extension ScoringBatch {
    /// Gives it what only some plugins need: probabilities, as the losses have them, and an encoder whose rows are the
    /// decoder's, with thresholds below all activations. It does not make the codes, which are drawn: rows of eight numbers
    /// cannot make any codes one likes.
    fileprivate mutating func addWhatIsNeeded(length: Int) {
        let bias = Matrix(rows: 1, columns: decoder.rows), thresholds = Matrix(rows: 1, columns: decoder.rows)
        thresholds.fill(1e-3)
        encoder = Encoder(weights: decoder, bias: bias, thresholds: thresholds)
        targetProbabilities = loss.indices.map { $0 % length == length - 1 ? 0 : exp(-loss[$0]) }
    }
}
