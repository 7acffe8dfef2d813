import Kernels
import LinearAlgebra

/// y = w ∘ x · r, r = 1/√(mean x² + ε), row by row (arXiv:1910.07467).
package struct RootMeanSquareNorm {
    /// w, `[1, d]`.
    let weight: Matrix
    let epsilon: Double

    package init(weight: Matrix, epsilon: Double) {
        self.weight = weight
        self.epsilon = epsilon
    }

    /// y `[n, d]` of x `[n, d]`; y may be x. Where `kept` `[n, d]` is given, it receives a copy of x.
    package func forward(
        _ x: UnsafePointer<Float>, rows n: Int, into y: UnsafeMutablePointer<Float>,
        keeping kept: UnsafeMutablePointer<Float>? = nil, on lanes: Lanes = .shared
    ) {
        let (d, w) = (weight.count, weight.elements)
        lanes.forRanges(n, grain: 16) { _, rows in
            for row in rows {
                if let kept { (kept + row * d).update(from: x + row * d, count: d) }
                kernels.normalize(y + row * d, x + row * d, w, epsilon, d)
            }
        }
    }

    /// Adds the gradient of x to `dx` `[n, d]`, given `dy` `[n, d]`; the derivative stands beside the kernel.
    package func addBackward(
        _ x: UnsafePointer<Float>, _ dy: UnsafePointer<Float>, rows n: Int, to dx: UnsafeMutablePointer<Float>,
        on lanes: Lanes = .shared
    ) {
        let (d, w) = (weight.count, weight.elements)
        lanes.forRanges(n, grain: 16) { _, rows in
            for row in rows {
                kernels.normalizeBackward(dx + row * d, x + row * d, w, dy + row * d, epsilon, d)
            }
        }
    }
}
