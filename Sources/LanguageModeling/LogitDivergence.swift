import Glibc
import Kernels

/// KL(p° ‖ p) of a row's `logits` `[count]`, p° being what follows from `other`, in Double. With a weight v, `logits` become v·∂KL/∂l of the
/// logits before the soft cap.
package func divergence(
    _ logits: UnsafeMutablePointer<Float>, from other: UnsafePointer<Float>, _ count: Int, softCap: Float? = nil,
    weight: Float?
) -> Float {
    func logarithm(_ row: UnsafePointer<Float>) -> Double {
        let maximum = Double(kernels.maximum(row, count))
        var sum = 0.0
        for i in 0..<count { sum += exp(Double(row[i]) - maximum) }
        return maximum + log(sum)
    }
    let (own, reference) = (logarithm(logits), logarithm(other))
    var total = 0.0
    for i in 0..<count {
        let log0 = Double(other[i]) - reference, log1 = Double(logits[i]) - own
        let p0 = exp(log0)
        total += p0 * (log0 - log1)
        guard let weight else { continue }
        // forward:  KL = Σ p° (log p° − l + log Σ e^l)    ⇒    dl = p − p°;  l = c·tanh(l₀/c)    ⇒    dl₀ = dl·(1 − (l/c)²)
        var gradient = Double(weight) * (exp(log1) - p0)
        if let softCap {
            let ratio = Double(logits[i] / softCap)
            gradient *= 1 - ratio * ratio
        }
        logits[i] = Float(gradient)
    }
    // Rounding makes it −1e-17 where both are the same. What is no number stays none.
    return total < 0 ? 0 : Float(total)
}
