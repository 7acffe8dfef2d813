import Attribution
import Autointerp
import LinearAlgebra
import TestSupport

/// 40 sequences of 24 tokens in which eight latents fire as drawn, latent j in about one token of 3 (j + 1); the last sequence is padded. Tokens
/// are shown by their ids.
struct SmallText {
    let inspection: LatentInspection
    /// [8][40·24].
    let dense: [[Float]]
    static let (sequences, length) = (40, 24)

    init() throws {
        let splice = try GoldenSplice()
        let count = Self.sequences * Self.length
        let random = CounterRandom(seed: 5, purpose: .test)
        var (fired, dense) = (FiredEntries(latentCount: 128, length: Self.length), [[Float]](repeating: [], count: 8))
        for latent in 0..<8 {
            dense[latent] = (0..<count).map { token in
                let place = UInt64(2 * (latent * count + token))
                // Eighths, so that there are ties; the padding is silent.
                let value = Float(1 + random.word(place + 1) % 40) / 8
                return random.word(place) % UInt64(3 * (latent + 1)) == 0 && token < count - 6 ? value : 0
            }
        }
        for token in 0..<count {
            for latent in 0..<8 where dense[latent][token] > 0 {
                fired.latents.append(Int32(latent))
                fired.tokens.append(Int32(token))
                fired.activations.append(dense[latent][token])
            }
        }
        fired.scoredTokens = (0..<Self.sequences).map { $0 == Self.sequences - 1 ? Self.length - 6 : Self.length }
        inspection = LatentInspection(
            try splice.sae(), model: splice.model, tokenizer: nil,
            ids: (0..<Int32(count)).map { $0 < count - 6 ? $0 % 320 : -1 }, fired: fired)
        self.dense = dense
    }

    /// A few contexts of each.
    static var numbers: ShownContexts.Numbers {
        var numbers = ShownContexts.Numbers()
        (numbers.explain, numbers.test, numbers.quantiles, numbers.window) = (8, 12, 4, 8)
        return numbers
    }

    static var settings: AutointerpSettings {
        var settings = AutointerpSettings(explainer: "e", judge: "j")
        (settings.numbers, settings.seed) = (numbers, 3)
        return settings
    }
}
