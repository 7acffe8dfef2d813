import Glibc
import Kernels
import LinearAlgebra

/// How rotary frequencies were changed to reach a longer context.
public enum RotaryScaling: Sendable, Equatable {
    /// Not at all.
    case none
    /// Llama 3: wavelengths above originalContextLength / lowFrequencyFactor are stretched by `factor`, those below
    /// originalContextLength / highFrequencyFactor stay, those between are blended.
    case llama3(
        factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContextLength: Double)

    fileprivate func scaled(_ frequency: Double) -> Double {
        guard case .llama3(let factor, let low, let high, let original) = self else { return frequency }
        let turns = original * frequency / (2 * Double.pi)
        if turns < low { return frequency / factor }
        if turns > high { return frequency }
        let blend = (turns - low) / (high - low)
        return (1 - blend) * frequency / factor + blend * frequency
    }
}

/// Rotary position embedding (arXiv:2104.09864), in the half-split layout: element i of a head is paired with
/// element i + h/2, and the pair turns by position · frequency(i). h is the head dimension.
package struct Rotary {
    /// cos and sin, `[T, h/2]`.
    private let cosines: Matrix
    private let sines: Matrix
    private let half: Int

    /// Tables for positions 0..<length. Angles in Double: single precision would be off by 1e-4 at position 2000.
    package init(
        length: Int, headDimension: Int, theta: Double, scaling: RotaryScaling
    ) {
        half = headDimension / 2
        cosines = Matrix(rows: length, columns: half)
        sines = Matrix(rows: length, columns: half)
        let frequencies = Self.frequencies(headDimension: headDimension, theta: theta, scaling: scaling)
        for (i, frequency) in frequencies.enumerated() {
            for position in 0..<length {
                let angle = Double(position) * frequency
                cosines[position, i] = Float(cos(angle))
                sines[position, i] = Float(sin(angle))
            }
        }
    }

    /// [h/2] radians a position.
    static func frequencies(headDimension: Int, theta: Double, scaling: RotaryScaling) -> [Double] {
        (0..<headDimension / 2).map { scaling.scaled(pow(theta, -2 * Double($0) / Double(headDimension))) }
    }

    /// Turns `heads` consecutive heads of one row at `position`:
    /// a ← a·cos − b·sin,  b ← b·cos + a·sin.
    package func turn(_ row: UnsafeMutablePointer<Float>, heads: Int, position: Int) {
        rotate(row, heads: heads, position: position, sign: 1)
    }

    // forward: (a, b) ← R(angle)·(a, b)
    // ∂L/∂(a, b) = Rᵀ·∂L/∂(turned a, b) = R(−angle)·∂L/∂(turned a, b)
    package func turnBackward(_ gradient: UnsafeMutablePointer<Float>, heads: Int, position: Int) {
        rotate(gradient, heads: heads, position: position, sign: -1)
    }

    private func rotate(_ row: UnsafeMutablePointer<Float>, heads: Int, position: Int, sign: Float) {
        kernels.rotate(row, cosines.row(position), sines.row(position), sign, half, heads)
    }
}
