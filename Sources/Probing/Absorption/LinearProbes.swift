import Glibc
import LinearAlgebra

/// Rows that probes learn from.
package protocol ProbedRows: Sendable {
    var rowCount: Int { get }
    var columnCount: Int { get }
    /// Calls `body` with the columns and values of a row.
    func forEach(inRow r: Int, _ body: (Int, Double) -> Void)
}

extension FeatureRows: ProbedRows {}

/// All numbers of a matrix, where they lie.
package struct DenseRows: ProbedRows {
    private let matrix: Matrix

    /// The rows of `matrix`.
    package init(_ matrix: Matrix) { self.matrix = matrix }

    package var rowCount: Int { matrix.rows }
    package var columnCount: Int { matrix.columns }
    package func forEach(inRow r: Int, _ body: (Int, Double) -> Void) {
        let row = matrix.row(r)
        for c in 0..<matrix.columns { body(c, Double(row[c])) }
    }
}

/// Probes of classes, each against the rest, z = W x + b, learnt together as SAEBench's `train_multi_probe` learns them: Adam on
///
///     1/(B·n) Σ_{i,c} [p_c y_ic softplus(−z_ic) + (1 − y_ic) softplus(z_ic)] + λ₁/n Σ_c ‖w_c‖₁ + λ₂/2 ‖(W, b)‖²,
///
/// n classes, B rows of a batch, p_c the rows outside of class c over those in it, y one at a row's own class; after every epoch the
/// rate falls by one factor. A probe is where these steps end, short of the least: so start and order are given, and bits follow from them.
///
/// In single precision, as there: sums are over the features of a row and the rows of a batch, and what comes of a probe are signs and orders.
package struct LinearProbes: Sendable {
    /// W `[classes, features]`.
    package let weights: Matrix
    /// b `[classes]`.
    package let biases: [Float]

    /// How they are learnt.
    package struct Plan: Sendable {
        package var batch: Int
        package var epochs = 50
        package var learningRate = 1e-2
        /// What the rate falls towards; it is reached after the last epoch.
        package var lastLearningRate = 1e-5
        /// λ₁, of W alone.
        package var l1 = 0.0
        /// λ₂.
        package var l2: Double

        /// Of activations.
        package static let dense = Plan(batch: 64, l2: 1e-4)
        /// Of latents, of which few are to be needed.
        package static let sparse = Plan(batch: 4096, l1: 0.01, l2: 1e-6)
    }

    package init(weights: Matrix, biases: [Float]) { (self.weights, self.biases) = (weights, biases) }

    /// Where learning begins: uniform within ±1/√features, as torch's `nn.Linear` does.
    package static func drawn(features: Int, classes: Int, seed: UInt64, stream: UInt32) -> LinearProbes {
        let bound = 1 / Float(features).squareRoot()
        let weights = Matrix(rows: classes, columns: features), biases = Matrix(rows: 1, columns: classes)
        for (matrix, step) in [(weights, stream), (biases, stream + 1)] {
            CounterRandom(seed: seed, purpose: .spelling, step: step).fill(
                UnsafeMutableBufferPointer(start: matrix.elements, count: matrix.count), from: -bound, to: bound)
        }
        return LinearProbes(weights: weights, biases: biases.values)
    }

    /// Those of some features.
    package func columns(_ chosen: [Int]) -> LinearProbes {
        let result = Matrix(rows: weights.rows, columns: chosen.count)
        for c in 0..<weights.rows {
            for (new, old) in chosen.enumerated() { result[c, new] = weights[c, old] }
        }
        return LinearProbes(weights: result, biases: biases)
    }

    /// Learns from rows whose classes are `classes`. `order` gives the order of rows in an epoch; `progress` is told of epochs. The bits do
    /// not depend on the number of lanes.
    ///
    /// - Throws: what `progress` throws.
    package init(
        _ rows: some ProbedRows, classes: [Int], from start: LinearProbes, plan: Plan, order: (Int) -> [Int32],
        lanes: Lanes = .shared, progress: (Int) throws -> Void = { _ in }
    ) throws {
        let count = start.biases.count
        let members = (0..<count).map { c in classes.count { $0 == c } }
        // A class without rows has nothing to weigh.
        let positive = members.map { $0 > 0 ? Float(rows.rowCount - $0) / Float($0) : 0 }
        let blocks = stride(from: 0, to: count, by: 8).map {
            ProbeBlock(start, first: $0, positive: positive)
        }
        let decay = pow(plan.lastLearningRate / plan.learningRate, 1 / Double(plan.epochs))
        for epoch in 0..<plan.epochs {
            let rate = plan.learningRate * pow(decay, Double(epoch)), sequence = order(epoch)
            lanes.forRanges(blocks.count) { _, range in
                for b in range { blocks[b].learn(rows, classes, sequence, plan, rate: rate, of: count) }
            }
            try progress(1)
        }
        weights = Matrix(rows: count, columns: rows.columnCount)
        var biases = [Float](repeating: 0, count: count)
        for c in 0..<count {
            for j in 0..<rows.columnCount { weights[c, j] = blocks[c / 8].weights[j][c % 8] }
            biases[c] = blocks[c / 8].weights[rows.columnCount][c % 8]
        }
        self.biases = biases
    }

    /// z of class c for each row, in Double.
    package func scores(_ rows: some ProbedRows, class c: Int) -> [Double] {
        let w = weights.row(c)
        return (0..<rows.rowCount).map { r in
            var sum = Double(biases[c])
            rows.forEach(inRow: r) { sum += $1 * Double(w[$0]) }
            return sum
        }
    }
}

/// Eight probes side by side, and Adam's moments of them. Places without a class are learnt too, and never read.
private final class ProbeBlock: @unchecked Sendable {
    typealias Eight = SIMD8<Float>

    /// One a feature, b last.
    private(set) var weights: [Eight]
    private var first: [Eight]
    private var second: [Eight]
    private var gradient: [Eight]
    private let firstClass: Int
    private let positive: Eight
    private var steps = 0

    init(_ start: LinearProbes, first c: Int, positive: [Float]) {
        let p = start.weights.columns
        var (weights, balance) = ([Eight](repeating: Eight(), count: p + 1), Eight())
        for lane in 0..<min(8, positive.count - c) {
            for j in 0..<p { weights[j][lane] = start.weights[c + lane, j] }
            weights[p][lane] = start.biases[c + lane]
            balance[lane] = positive[c + lane]
        }
        (self.weights, self.positive, firstClass) = (weights, balance, c)
        first = [Eight](repeating: Eight(), count: p + 1)
        (second, gradient) = (first, first)
    }

    /// One epoch.
    func learn(
        _ rows: some ProbedRows, _ classes: [Int], _ order: [Int32], _ plan: LinearProbes.Plan, rate: Double, of n: Int
    ) {
        for start in stride(from: 0, to: order.count, by: plan.batch) {
            let batch = order[start..<min(start + plan.batch, order.count)]
            differentiate(rows, classes, batch, of: n)
            step(plan, rate: rate, of: n)
        }
    }

    /// The gradient of a batch's losses, added to what is there.
    private func differentiate(
        _ rows: some ProbedRows, _ classes: [Int], _ batch: ArraySlice<Int32>, of n: Int
    ) {
        let p = weights.count - 1, scale = 1 / (Float(batch.count) * Float(n))
        weights.withUnsafeBufferPointer { weights in
            gradient.withUnsafeMutableBufferPointer { gradient in
                for r in batch {
                    var z = weights[p]
                    rows.forEach(inRow: Int(r)) { z += weights[$0] * Float($1) }
                    var delta = Eight()
                    let own = classes[Int(r)] - firstClass
                    for lane in 0..<8 {
                        let e = exp(-abs(z[lane]))
                        // σ(z), and σ(−z) where the row is of the class.
                        let share = (z[lane] >= 0) == (lane != own) ? 1 / (1 + e) : e / (1 + e)
                        delta[lane] = (lane == own ? -positive[lane] * share : share) * scale
                    }
                    rows.forEach(inRow: Int(r)) { gradient[$0] += delta * Float($1) }
                    gradient[p] += delta
                }
            }
        }
    }

    /// Adam's step as torch takes it, with the gradients of the penalties.
    private func step(_ plan: LinearProbes.Plan, rate: Double, of n: Int) {
        steps += 1
        let p = weights.count - 1
        let root = Float((1 - pow(0.999, Double(steps))).squareRoot())
        let size = Float(rate / (1 - pow(0.9, Double(steps))))
        let (l1, l2) = (Eight(repeating: Float(plan.l1 / Double(n))), Float(plan.l2))
        for j in 0...p {
            let w = weights[j]
            var g = gradient[j] + l2 * w
            if plan.l1 > 0, j < p {
                g += Eight().replacing(with: l1, where: w .> 0).replacing(with: -l1, where: w .< 0)
            }
            first[j] += 0.1 * (g - first[j])
            second[j] = 0.999 * second[j] + 0.001 * g * g
            weights[j] = w - size * first[j] / (second[j].squareRoot() / root + 1e-8)
            gradient[j] = Eight()
        }
    }
}
