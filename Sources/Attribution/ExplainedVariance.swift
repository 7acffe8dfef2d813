import LinearAlgebra

/// 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖² over replaced positions, x̄ their mean, summed up as samples pass by.
public struct ExplainedVariance: Sendable {
    private var (error, square, count) = (0.0, 0.0, 0.0)
    private var sum: [Double] = []

    /// The value so far; nil before there are two positions that differ.
    public var value: Double? {
        let variance = square - sum.reduce(0) { $0 + $1 * $1 } / max(count, 1)
        // What is left of rounding where all positions are alike.
        return variance > 1e-9 * square ? 1 - error / variance : nil
    }

    mutating func add(_ sample: SpliceSample, _ reconstruction: Matrix) {
        let columns = reconstruction.columns
        if sum.isEmpty { sum = Array(repeating: 0, count: columns) }
        sum.withUnsafeMutableBufferPointer { sum in
            for r in 0..<reconstruction.rows where sample.replaced[r] != 0 {
                let (x, y) = (sample.residual.row(r), reconstruction.row(r))
                for c in 0..<columns {
                    let (a, b) = (Double(x[c]), Double(y[c]))
                    error += (a - b) * (a - b)
                    square += a * a
                    sum[c] += a
                }
                count += 1
            }
        }
    }
}
