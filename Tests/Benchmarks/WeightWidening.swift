import Kernels
import LinearAlgebra
import TensorFiles

/// What it costs to widen weights where a product reads them: each form on one lane, beside the product of as many weights with the 512
/// tokens that a lane runs together.
struct WeightWidening {
    private let rows = 512, columns = 2304, tokens = 512

    func run() {
        let count = rows * columns
        let (x, panel, y) = (
            Matrix(rows: tokens, columns: columns), Matrix(rows: rows, columns: columns),
            Matrix(rows: tokens, columns: rows)
        )
        // Far more than a cache holds, as a model is: each round reads other weights. Bits are anything, scales among them.
        let stored = Matrix(rows: 1, columns: 32 * count)
        CounterRandom(seed: 1, purpose: .test).fill(
            UnsafeMutableBufferPointer(start: stored.elements, count: stored.count), from: 0.5, to: 1)
        var rounds = Rounds()
        for round in 0..<15 {
            rounds.time("product") { multiplyOnLane(x.view, panel.view.transposed, into: y.mutableView) }
            for format in NumberFormat.allCases {
                let source = UnsafeRawPointer(stored.elements) + round * 2 * count
                rounds.time(format.name) { kernels.expand(source, format, panel.elements, count) }
            }
        }
        print("\n\(rows) × \(columns) weights on one lane; the product with \(tokens) tokens takes")
        printRow("product", milliseconds(rounds.median("product")))
        for format in NumberFormat.allCases {
            let seconds = rounds.median(format.name)
            printRow(
                "widening \(format.name)", "\(number(seconds * 1e9 / Double(count), 2)) ns/number",
                "\(number(100 * rounds.medianRatio(of: format.name, to: "product"), 1))%")
        }
    }
}
