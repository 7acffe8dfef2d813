// Gradient × activation: score[t, j] = -a · ⟨g_t, ŵ_j⟩ with a = f[t, j] and ŵ_j = W_dec[j] / ‖W_dec[j]‖.
//
// Its magnitude is the attribution of "Distilled Matryoshka SAEs"; its sign is the one of scorer.h: positive where
// removing the latent raises the loss, to first order.
//
// Goals, in this order: the exact value (products of floats are exact in Double, so only the last bits of a sum in
// Double are lost, and the result does not depend on the processor's width); then speed: one pass over the entries.

import CDMSAE

/// Σ x_i·y_i over `count` floats, in Double.
private func dot(_ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ count: Int) -> Double {
    let x = UnsafeRawPointer(x), y = UnsafeRawPointer(y)
    func four(_ p: UnsafeRawPointer, _ i: Int) -> SIMD4<Double> {
        SIMD4<Double>((p + 4 * i).loadUnaligned(as: SIMD4<Float>.self))
    }
    // Two sums hide the latency of the addition.
    var even = SIMD4<Double>(), odd = SIMD4<Double>()
    var i = 0
    while i + 8 <= count {
        even += four(x, i) * four(y, i)
        odd += four(x, i + 4) * four(y, i + 4)
        i += 8
    }
    var sum = (even + odd).sum()
    while i < count {
        sum += Double((x + 4 * i).load(as: Float.self)) * Double((y + 4 * i).load(as: Float.self))
        i += 1
    }
    return sum
}

final class GradientTimesActivation: Scorer {
    static let about = PluginAbout(
        id: "gxa", name: "Gradient × activation",
        description: "-a·⟨g, ŵ⟩: how the loss changes, to first order, along the latent's direction",
        flags: DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT | DMSAE_PLUGIN_NEEDS_GRADIENT)

    private let host: Host

    init(_ settings: Settings, _ host: Host) { self.host = host }

    func score(_ batch: Batch, into scores: UnsafeMutableBufferPointer<Float>) throws {
        let d = batch.dimension
        // ‖W_dec[j]‖, of the latents that fire only: in a wide SAE most rows would be read for nothing. -1: not yet known.
        let norms = UnsafeMutablePointer<Double>.allocate(capacity: batch.latentCount)
        norms.initialize(repeating: -1, count: batch.latentCount)
        defer { norms.deallocate() }
        for t in 0..<batch.tokenCount {
            if t % 64 == 0 { try host.checkCancellation() }
            let g = try batch.gradientRow(t)
            for e in batch.entries(ofToken: t) {
                let j = batch.latent(e)
                let w = batch.decoderRow(j)
                if norms[j] < 0 { norms[j] = dot(w, w, d).squareRoot() }
                // A zero row has no direction and adds nothing to x̂: removing it changes no loss.
                scores[e] = norms[j] == 0 ? 0 : Float(-Double(batch.activation(e)) * dot(g, w, d) / norms[j])
            }
        }
    }
}

/// The one exported symbol; checked against its declaration in entry.h.
@c @implementation
public func dmsae_plugin_entry(_ host: UnsafePointer<dmsae_host_info>) -> UnsafePointer<dmsae_entry>? {
    pluginEntry(of: GradientTimesActivation.self)
}
