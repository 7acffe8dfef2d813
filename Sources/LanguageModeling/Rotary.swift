import Glibc
import Kernels
import LinearAlgebra

/// How rotary frequencies were changed to reach a longer context.
public enum RotaryScaling: Sendable, Equatable {
    /// Not at all.
    case none
    /// Every frequency is divided by `factor`.
    case linear(factor: Double)
    /// Llama 3: wavelengths above originalContextLength / lowFrequencyFactor are stretched by `factor`, those below
    /// originalContextLength / highFrequencyFactor stay, those between are blended.
    case llama3(
        factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContextLength: Double)

    fileprivate func scaled(_ frequency: Double) -> Double {
        switch self {
        case .none: return frequency
        case .linear(let factor): return frequency / factor
        case .llama3(let factor, let low, let high, let original):
            let turns = original * frequency / (2 * Double.pi)
            if turns < low { return frequency / factor }
            if turns > high { return frequency }
            let blend = (turns - low) / (high - low)
            return (1 - blend) * frequency / factor + blend * frequency
        }
    }
}

/// The frequencies of a rotary embedding: pair i of a head turns by position · θ^(−2i / r).
public struct RotaryDescription: Sendable, Equatable {
    /// r: how many numbers of a head turn, the first ones; even.
    public var dimension: Int
    /// θ.
    public var theta: Double
    /// How the frequencies were changed after training.
    public var scaling = RotaryScaling.none
    /// What each frequency is divided by after that, `[r/2]`; nil for nothing.
    public var divisors: [Double]?

    /// The first `dimension` numbers of a head.
    package init(dimension: Int, theta: Double, scaling: RotaryScaling = .none, divisors: [Double]? = nil) {
        (self.dimension, self.theta, self.scaling, self.divisors) = (dimension, theta, scaling, divisors)
    }

    /// By which pair i turns from one position to the next.
    func frequency(_ i: Int) -> Double {
        scaling.scaled(pow(theta, -2 * Double(i) / Double(dimension))) / (divisors?[i] ?? 1)
    }
}

/// Rotary position embedding (arXiv:2104.09864), in the half-split layout: element i of a head is paired with
/// element i + r/2, and the pair turns by position · frequency(i). What lies beyond r stays.
package struct Rotary {
    /// cos and sin, `[T, r/2]`.
    package let cosines: Matrix
    package let sines: Matrix
    private let half: Int
    private let headDimension: Int

    /// Tables for positions 0..<length. Angles in Double: single precision would be off by 1e-4 at position 2000.
    package init(length: Int, headDimension: Int, _ description: RotaryDescription) {
        half = description.dimension / 2
        self.headDimension = headDimension
        cosines = Matrix(rows: length, columns: half)
        sines = Matrix(rows: length, columns: half)
        for i in 0..<half {
            let frequency = description.frequency(i)
            for position in 0..<length {
                let angle = Double(position) * frequency
                cosines[position, i] = Float(cos(angle))
                sines[position, i] = Float(sin(angle))
            }
        }
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
        kernels.rotate(row, cosines.row(position), sines.row(position), sign, half, heads, headDimension)
    }
}
