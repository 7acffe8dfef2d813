import Kernels
import LinearAlgebra

/// y = w ∘ x·r + b of each row, r = (Σ x²/d + ε)^(−1/2): root-mean-square layer normalisation (arXiv:1910.07467); with the mean
/// taken off x first it is layer normalisation (arXiv:1607.06450).
package struct Norm {
    /// Which of the two.
    package enum Kind: Sendable {
        /// x as it is.
        case rootMeanSquare
        /// x less its mean.
        case layer
    }

    package let kind: Kind
    /// w, `[d]`.
    package let weight: Matrix
    /// b, `[d]`.
    package let bias: Matrix?
    package let epsilon: Double

    package init(_ kind: Kind = .rootMeanSquare, weight: Matrix, bias: Matrix? = nil, epsilon: Double) {
        self.kind = kind
        self.weight = weight
        self.bias = bias
        self.epsilon = epsilon
    }

    /// `y` from `x`, both `[n, d]`; `y` may be `x`. `kept` `[n, d]` receives a copy of x for the backward pass.
    package func forward(
        _ x: UnsafePointer<Float>, rows n: Int, into y: UnsafeMutablePointer<Float>,
        keeping kept: UnsafeMutablePointer<Float>? = nil, on lanes: Lanes = .shared
    ) {
        let d = weight.count
        lanes.forRanges(n, grain: 16) { _, rows in
            for row in rows {
                if let kept { (kept + row * d).update(from: x + row * d, count: d) }
                forward(x + row * d, into: y + row * d)
            }
        }
    }

    /// One row.
    func forward(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>) {
        let d = weight.count
        if kind == .layer {
            let mean = mean(x)
            for i in 0..<d { y[i] = x[i] - mean }
            kernels.normalize(y, y, weight.elements, epsilon, d)
        } else {
            kernels.normalize(y, x, weight.elements, epsilon, d)
        }
        if let bias { kernels.addScaled(y, bias.elements, 1, d) }
    }

    /// dx += the gradient of x, given that of y; all `[n, d]`. With `isConstant` r counts as a constant.
    package func addBackward(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows n: Int, to dx: UnsafeMutablePointer<Float>,
        isConstant: Bool = false, on lanes: Lanes = .shared
    ) {
        let d = weight.count
        lanes.forRanges(n, grain: 16) { _, rows in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * d) { scratch in
                for row in rows {
                    addBackward(
                        x + row * d, dy + row * d, to: dx + row * d, isConstant: isConstant,
                        scratch: scratch.baseAddress!)
                }
            }
        }
    }

    /// One row; `scratch` has room for 2d numbers.
    func addBackward(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, to dx: UnsafeMutablePointer<Float>,
        isConstant: Bool = false, scratch: UnsafeMutablePointer<Float>
    ) {
        if isConstant { return addLinear(x, dy, to: dx) }
        let d = weight.count
        guard kind == .layer else { return kernels.normalizeBackward(dx, x, weight.elements, dy, epsilon, d) }
        let (centered, dcentered) = (scratch, scratch + d)
        let mean = mean(x)
        for i in 0..<d { centered[i] = x[i] - mean }
        dcentered.update(repeating: 0, count: d)
        kernels.normalizeBackward(dcentered, centered, weight.elements, dy, epsilon, d)
        // forward:  c = x − mean x    ⇒    dx = dc − mean dc
        let along = self.mean(dcentered)
        for i in 0..<d { dx[i] += dcentered[i] - along }
    }

    /// The same with r a constant: y = w ∘ c·r, c = x or x − mean x.
    private func addLinear(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, to dx: UnsafeMutablePointer<Float>
    ) {
        let d = weight.count, r = 1 / denominator(x)
        var along = 0.0
        if kind == .layer {
            for i in 0..<d { along += Double(weight[i]) * Double(dy[i]) }
            along /= Double(d)
        }
        for i in 0..<d { dx[i] += Float(r * (Double(weight[i]) * Double(dy[i]) - along)) }
    }

    /// 1/r of a row.
    func denominator(_ x: UnsafePointer<Float>) -> Double {
        let d = weight.count, mean = kind == .layer ? Double(mean(x)) : 0
        var squares = 0.0
        for i in 0..<d {
            let c = Double(x[i]) - mean
            squares += c * c
        }
        return (squares / Double(d) + epsilon).squareRoot()
    }

    private func mean(_ x: UnsafePointer<Float>) -> Float {
        var sum = 0.0
        for i in 0..<weight.count { sum += Double(x[i]) }
        return Float(sum / Double(weight.count))
    }
}
