import Kernels
import LinearAlgebra

/// y = w ∘ x · r, r = 1/√(mean x² + ε), row by row (arXiv:1910.07467).
///
/// Sums are in Double: one attention sink puts a square of 4e8 beside terms of 1.
package struct RootMeanSquareNorm {
    /// w, `[1, d]`.
    let weight: Matrix
    let epsilon: Double

    package init(weight: Matrix, epsilon: Double) {
        self.weight = weight
        self.epsilon = epsilon
    }

    /// y `[n, d]` of x `[n, d]`; y may be x.
    package func forward(_ x: UnsafePointer<Float>, rows n: Int, into y: UnsafeMutablePointer<Float>) {
        let (d, w) = (weight.count, weight.elements)
        Lanes.shared.forRanges(n, grain: 16) { _, rows in
            for row in rows {
                let (x, y) = (x + row * d, y + row * d)
                let r = Float(inverseRoot(sumOfProducts(x, x, d)))
                for i in 0..<d { y[i] = w[i] * (x[i] * r) }
            }
        }
    }

    // forward:  yᵢ = wᵢ xᵢ r,  r = (Σ xₖ²/d + ε)^(−1/2),  so  ∂r/∂xₖ = −r³ xₖ/d
    // ∂L/∂xᵢ = r wᵢ dyᵢ − xᵢ (r³/d) Σₖ wₖ dyₖ xₖ
    /// Adds the gradient of x to `dx` `[n, d]`; `dy` `[n, d]` is overwritten.
    package func addBackward(
        _ x: UnsafePointer<Float>, _ dy: UnsafeMutablePointer<Float>, rows n: Int,
        to dx: UnsafeMutablePointer<Float>
    ) {
        let (d, w) = (weight.count, weight.elements)
        Lanes.shared.forRanges(n, grain: 16) { _, rows in
            for row in rows {
                let (x, dy, dx) = (x + row * d, dy + row * d, dx + row * d)
                let r = inverseRoot(sumOfProducts(x, x, d))
                for i in 0..<d { dy[i] *= w[i] }
                let along = -r * r * r / Double(d) * sumOfProducts(dy, x, d)
                kernels.addScaled(dx, dy, Float(r), d)
                kernels.addScaled(dx, x, Float(along), d)
            }
        }
    }

    private func inverseRoot(_ sumOfSquares: Double) -> Double {
        1 / (sumOfSquares / Double(weight.count) + epsilon).squareRoot()
    }
}

/// Σ x[i]·y[i] in Double, in eight partial sums.
private func sumOfProducts(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ count: Int) -> Double {
    var sums = SIMD8<Double>.zero
    var i = 0
    while i + 8 <= count {
        let a = SIMD8<Double>(UnsafeRawPointer(x + i).loadUnaligned(as: SIMD8<Float>.self))
        let b = SIMD8<Double>(UnsafeRawPointer(y + i).loadUnaligned(as: SIMD8<Float>.self))
        sums += a * b
        i += 8
    }
    var sum = sums.sum()
    while i < count {
        sum += Double(x[i]) * Double(y[i])
        i += 1
    }
    return sum
}
