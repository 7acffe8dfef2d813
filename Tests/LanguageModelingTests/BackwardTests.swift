import Glibc
import Kernels
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// Every hand-written derivative against central differences of the same function in Double.
///
/// Tolerance 2e-5 of the largest entry: single precision rounds each of the few hundred terms of a sum to 6e-8 of
/// its size, and the exponential kernel is exact to 3e-6. A wrong or missing term shows as 1e-2 and more.
@Suite struct BackwardTests {
    private let tolerance = 2e-5

    @Test func rootMeanSquareNorm() {
        let (rows, d) = (3, 21)
        let x = noise(rows * d, seed: 1), weight = noise(d, seed: 2), dy = noise(rows * d, seed: 3)
        let epsilon = 0.05
        let expected = centralDifferences(x.map(Double.init)) { x in
            (0..<rows).reduce(0) { total, row in
                let y = NaiveDecoder.norm(Array(x[row * d..<(row + 1) * d]), weight.map(Double.init), epsilon)
                return total + (0..<d).reduce(0) { $0 + y[$1] * Double(dy[row * d + $1]) }
            }
        }
        let norm = Norm(weight: Matrix(vector: weight), epsilon: epsilon)
        // The gradient is added to what is there: start from one and take it away.
        let dx = Matrix(rows: rows, columns: d, [Float](repeating: 1, count: rows * d))
        let gradient = Matrix(rows: rows, columns: d, dy)
        let input = Matrix(rows: rows, columns: d, x)
        norm.addBackward(input.elements, gradient.elements, rows: rows, to: dx.elements)
        #expect(relativeDifference(dx.values.map { $0 - 1 }, expected) < tolerance)
    }

    // Lengths around the block of 64 queries, and groups of 1 and 3 queries per key head.
    @Test(arguments: [(1, 2, 2), (7, 3, 1), (70, 2, 1)]) func rotaryAndAttention(
        _ length: Int, _ heads: Int, _ keys: Int
    ) {
        let h = 4
        let sequences = 2
        let attention = CausalAttention(headCount: heads, keyValueHeadCount: keys, headDimension: h)
        let width = attention.rowWidth, n = sequences * length
        let x = noise(n * width, seed: 4).map { 2 * $0 }, dout = noise(n * attention.outputWidth, seed: 5)
        let theta = 100.0
        func oracle(_ x: [Double]) -> [Double] {
            var result: [Double] = []
            for s in 0..<sequences {
                let rows = (s * length..<(s + 1) * length).map { row in Array(x[row * width..<(row + 1) * width]) }
                let mixed = NaiveDecoder.attention(
                    rows, heads: heads, keyValueHeads: keys, headDimension: h, theta: theta)
                result += mixed.flatMap { $0 }
            }
            return result
        }
        let rotary = Rotary(length: length, headDimension: h, RotaryDescription(dimension: h, theta: theta))
        let rows = Matrix(rows: n, columns: width, x)
        for row in 0..<n { rotary.turn(rows.row(row), heads: heads + keys, position: row % length) }
        let scratch = attention.scratch(length: length)
        let out = Matrix(rows: n, columns: attention.outputWidth)
        attention.forward(rows.elements, sequences: sequences, length: length, scratch: scratch, into: out.elements)
        #expect(relativeDifference(out.values, oracle(x.map(Double.init))) < tolerance)

        let dx = Matrix(rows: n, columns: width)
        let doutput = Matrix(rows: n, columns: attention.outputWidth, dout)
        attention.backward(
            rows.elements, doutput.elements, sequences: sequences, length: length, scratch: scratch, into: dx.elements)
        for row in 0..<n { rotary.turnBackward(dx.row(row), heads: heads + keys, position: row % length) }
        // One in seventeen entries of the long case: each costs two runs of the naive attention.
        let chosen = Array(stride(from: 0, to: x.count, by: length > 10 ? 17 : 1))
        var base = x.map(Double.init)
        let expected = centralDifferences(chosen.map { base[$0] }) { values in
            for (i, value) in zip(chosen, values) { base[i] = value }
            return zip(oracle(base), dout).reduce(0) { $0 + $1.0 * Double($1.1) }
        }
        #expect(relativeDifference(chosen.map { dx[$0] }, expected) < tolerance)
    }

    @Test func swiGLU() {
        let count = 37
        let gate = noise(count, seed: 6).map { 4 * $0 }, up = noise(count, seed: 7), dout = noise(count, seed: 8)
        let expected = centralDifferences((gate + up).map(Double.init)) { x in
            zip(NaiveDecoder.swiGLU(Array(x[..<count]), Array(x[count...])), dout).reduce(0) {
                $0 + $1.0 * Double($1.1)
            }
        }
        let x = Matrix(vector: gate + up)
        let doutput = Matrix(vector: dout)
        kernels.activateBackward(doutput.elements, x.elements, x.elements + count, .silu, count)
        #expect(relativeDifference(x.values, expected) < tolerance)
    }

    // A vocabulary of more than one tile, so that the running maximum moves.
    @Test func normProjectionAndLoss() {
        let (n, d, words) = (3, 5, 4200)
        let weight = Matrix(rows: words, columns: d, noise(words * d, seed: 9).map { 3 * $0 })
        let scale = noise(d, seed: 10), x = noise(n * d, seed: 11)
        let targets: [Int32] = [0, -1, 4199]
        func oracle(_ x: [Double]) -> [Double] {
            (0..<n).map { row -> Double in
                if targets[row] < 0 { return 0 }
                let y = NaiveDecoder.norm(Array(x[row * d..<(row + 1) * d]), scale.map(Double.init), 1e-5)
                var logits = [Double](repeating: 0, count: words)
                for v in 0..<words {
                    for i in 0..<d { logits[v] += Double(weight[v, i]) * y[i] }
                }
                let largest = logits.max()!
                let total = logits.reduce(0.0) { $0 + exp($1 - largest) }
                return log(total) + largest - logits[Int(targets[row])]
            }
        }
        let head = LanguageHead(
            norm: Norm(weight: Matrix(vector: scale), epsilon: 1e-5), weight: WeightMatrix(weight))
        let losses = Matrix(rows: 1, columns: n), gradient = Matrix(rows: n, columns: d)
        let rows = Matrix(rows: n, columns: d, x)
        let scratch = LanguageHead.Scratch(rows: n, dModel: d)
        head.losses(rows.elements, targets: targets[...], into: losses.elements, gradient: gradient.elements, scratch)
        #expect(relativeDifference(losses.values, oracle(x.map(Double.init))) < tolerance)
        let expected = centralDifferences(x.map(Double.init)) { oracle($0).reduce(0, +) }
        #expect(relativeDifference(gradient.values, expected) < tolerance)
        let alone = Matrix(rows: 1, columns: n)
        head.losses(rows.elements, targets: targets[...], into: alone.elements, scratch)
        #expect(alone.values == losses.values)
    }

    /// Σ losses of the whole small model from layer 0: along random directions, and entry by entry for some.
    @Test func wholeModel() throws {
        let oracle = try NaiveDecoder(
            file: fixture("models/llama/model.safetensors"), layers: 3, heads: 6, keyValueHeads: 2, headDimension: 8,
            theta: 10_000, epsilon: 1e-5)
        let model = try loadLanguageModel(path: fixture("models/llama"))
        let io = try SafetensorsFile(path: fixture("models/llama/io.safetensors"))
        let ids = Array(try io.integers("input_ids").prefix(16).map(Int32.init))
        let d = model.configuration.dModel
        let batch = TokenBatch(ids)
        let x = try model.residual(of: batch, afterLayer: 0)
        let gradient = try model.lossesAndGradient(of: batch, residual: x, afterLayer: 0).gradient
        let base = x.values.map(Double.init)
        let directions = (0..<3).map { noise(base.count, seed: 20 + UInt64($0)).map(Double.init) }
        let entries = [0, 100, 377, 601, 700].map { i in base.indices.map { $0 == i ? 1.0 : 0 } }
        let steps = directions + entries
        let expected = centralDifferences([Double](repeating: 0, count: steps.count)) { along in
            var moved = base
            for (step, amount) in zip(steps, along) where amount != 0 {
                for i in moved.indices { moved[i] += amount * step[i] }
            }
            return oracle.loss((0..<16).map { Array(moved[$0 * d..<($0 + 1) * d]) }, afterLayer: 0, ids: ids)
        }
        let found = steps.map { step in zip(step, gradient.values).reduce(0) { $0 + $1.0 * Double($1.1) } }
        // 1e-4 as for the golden gradients: two blocks and the head in single precision.
        #expect(relativeDifference(found.map(Float.init), expected) < 1e-4, "\(found) \(expected)")
    }
}
