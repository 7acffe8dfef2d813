import CDMSAE

/// What latent j adds to the loss in all, to first order: Σ_t -a_t · ⟨g_t, W_dec[j]⟩ over the scored tokens, per scored token.
final class Total: TotalsScorer {
    static let about = PluginAbout(
        id: "total", name: "Total", version: "1.0.0", description: "Mean of -a · ⟨g, w⟩ over the scored tokens",
        flags: DMSAE_PLUGIN_NEEDS_GRADIENT | DMSAE_PLUGIN_DETERMINISTIC)
    static let sumCount = 1
    static let unit: StaticString = "nats per token"

    private let host: Host

    init(_ settings: Settings, _ host: Host) throws { self.host = host }

    func add(_ batch: Batch, to sums: Sums) throws {
        for t in 0..<batch.tokenCount {
            if t % 64 == 0 { try host.checkCancellation() }
            let g = try batch.gradientRow(t)
            for e in batch.entries(ofToken: t) {
                let w = batch.decoderRow(batch.latent(e))
                var dot = 0.0
                for i in 0..<batch.dimension { dot += Double(g[i]) * Double(w[i]) }
                sums[batch.latent(e), 0] -= Double(batch.activation(e)) * dot
            }
        }
    }

    func score(_ sums: UnsafeBufferPointer<Double>, scoredTokens: Int) -> Double? {
        scoredTokens > 0 ? sums[0] / Double(scoredTokens) : nil
    }
}

@c @implementation
public func dmsae_plugin_entry(_ host: UnsafePointer<dmsae_host_info>) -> UnsafePointer<dmsae_entry>? {
    pluginEntry(of: Total.self)
}
