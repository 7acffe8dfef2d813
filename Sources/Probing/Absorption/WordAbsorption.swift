/// Whether other latents stand in for those that should fire on a word: SAEBench's `FeatureAbsorptionCalculator`.
///
/// With u the probe's direction, of norm 1, and x the activation, P = ⟨x, u⟩ is what the probe sees, and π_j = f_j cos(u, W_dec,j) what latent j
/// gives to it. Decoder rows are unit rows, or f_j would be on another scale than x.
package struct WordAbsorption: Sendable, Equatable {
    /// a / (a + M), with M = Σ π_j of the main latents and a = min(A, P − M), A the three largest π_j of other latents with cos ≥ .1; 1 where
    /// M ≤ 0; 0 where M ≥ P or A < .4 P.
    package let fraction: Double
    /// No main latent fires, and the latent with the largest π_j has cos ≥ .025 and π_j ≥ .4 P.
    package let isFull: Bool
    /// The latents of A, the largest π_j first; of full absorption without them the one latent that it is; none where nothing is absorbed.
    package let absorbers: [Int]

    /// SAEBench's constants.
    package static let leastShare = 0.4
    static let leastCosine = 0.1
    static let leastCosineOfFull = 0.025
    static let mostAbsorbers = 3
    /// Below this a main latent does not fire.
    static let silence = 1e-8

    /// Of a word's codes, which `forEach` goes through.
    ///
    /// - Parameters:
    ///   - projection: P.
    ///   - cosines: cos(u, W_dec,j) by latent.
    ///   - main: latents that should fire; `count` latents there are, from 0.
    package init(
        projection P: Double, cosines: [Float], main: [Int], below count: Int,
        forEach: ((Int, Double) -> Void) -> Void
    ) {
        var M = 0.0
        var isSilent = true
        // π_j of latents that may absorb, the largest first; of equal ones the lower.
        var others: [(latent: Int, share: Double)] = []
        var top: (latent: Int, share: Double, cosine: Double)?
        forEach { j, f in
            guard j < count else { return }
            let cosine = Double(cosines[j]), share = f * cosine
            if share > top?.share ?? 0 { top = (j, share, cosine) }
            if main.contains(j) {
                M += share
                if f >= Self.silence { isSilent = false }
            } else if cosine >= Self.leastCosine, share > 0 {
                others.append((j, share))
            }
        }
        let chosen = others.sorted { ($0.share, $1.latent) > ($1.share, $0.latent) }.prefix(Self.mostAbsorbers)
        let A = chosen.reduce(0.0) { $0 + $1.share }
        // A probe that sees nothing, or less, is right by its bias alone: nothing is absorbed.
        if P <= 0 || M >= P || A < Self.leastShare * P {
            fraction = 0
        } else if M <= 0 {
            fraction = 1
        } else {
            let a = min(A, P - M)
            fraction = a / (a + M)
        }
        let absorber = top.flatMap {
            $0.cosine >= Self.leastCosineOfFull && $0.share >= Self.leastShare * P ? $0.latent : nil
        }
        isFull = isSilent && P > 0 && absorber != nil
        absorbers = fraction > 0 ? chosen.map(\.latent) : isFull ? [absorber!] : []
    }
}
