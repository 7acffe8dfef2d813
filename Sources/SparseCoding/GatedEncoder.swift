import Glibc
import LinearAlgebra

/// The two encoders of a gated SAE, which share their directions up to a positive factor, and are one with thresholds.
///
/// u = (x − b_dec) W_enc; f = ReLU(e^r u + b_mag) where u + b_gate > 0 (Rajamanoharan et al., arXiv:2404.16014, section
/// 3.2). Since e^r > 0, the gate is open where e^r u + b_mag > b_mag − e^r b_gate: that is a JumpReLU of p = e^r u +
/// b_mag with θ = b_mag − e^r b_gate.
package struct GatedEncoder {
    private let gateBias: Matrix
    private let magnitudeBias: Matrix
    private let logarithms: Matrix

    /// - Parameter logarithms: r, [F], as b_gate and b_mag are.
    package init(gateBias: Matrix, magnitudeBias: Matrix, logarithms: Matrix) {
        (self.gateBias, self.magnitudeBias, self.logarithms) = (gateBias, magnitudeBias, logarithms)
    }

    /// Makes an SAE of it whose encoder holds W_encᵀ [F, D]. In Double, rounded once.
    ///
    /// - Throws: what `fails` makes of the reason: a factor or threshold that single precision cannot hold.
    package func apply(to sae: SparseAutoencoder, fails: (String) -> any Error) throws {
        var thresholds = [Float](repeating: 0, count: sae.dSAE)
        for j in 0..<sae.dSAE {
            let factor = exp(Double(logarithms[j]))
            // A factor that is rounded to zero would lose the gate's sign.
            guard Float(factor).isNormal else {
                throw fails("latent \(j) has a magnitude e^\(logarithms[j]), which single precision cannot hold")
            }
            let row = sae.encoder.row(j)
            for i in 0..<sae.dIn { row[i] = Float(factor * Double(row[i])) }
            sae.encoderBias[j] = magnitudeBias[j]
            thresholds[j] = Float(Double(magnitudeBias[j]) - factor * Double(gateBias[j]))
            guard thresholds[j].isFinite, (0..<sae.dIn).allSatisfy({ row[$0].isFinite }) else {
                throw fails("latent \(j) is multiplied by e^\(logarithms[j]), which makes it infinite")
            }
        }
        sae.inference = .thresholds(thresholds)
    }
}
