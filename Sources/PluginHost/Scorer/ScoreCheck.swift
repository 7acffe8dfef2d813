import LinearAlgebra
import PluginABI

/// What is asked of the scores of a batch, whoever wrote them (DMSAE-SCORER-03).
enum ScoreCheck {
    /// - Throws: `PluginCallError.unwrittenScore`, `.nonFiniteScore`.
    static func check(
        _ scores: UnsafeBufferPointer<Float>, _ codes: SparseCodes, plugin: String, path: String
    ) throws {
        // NaN and infinity alone have all bits of the exponent set. The scan has no exit, so that it vectorises.
        var suspicious: UInt32 = 0
        for score in scores { suspicious |= score.bitPattern & 0x7F80_0000 == 0x7F80_0000 ? 1 : 0 }
        guard suspicious != 0 else { return }
        var missing = 0
        for score in scores where Unwritten.isLeft(in: score) { missing += 1 }
        if missing > 0, let e = scores.firstIndex(where: { Unwritten.isLeft(in: $0) }) {
            let (row, latent) = codes.position(of: e)
            throw PluginCallError.unwrittenScore(
                plugin: plugin, path: path, row: row, latent: latent, unwritten: missing, count: scores.count)
        }
        if let e = scores.firstIndex(where: { !$0.isFinite }) {
            let (row, latent) = codes.position(of: e)
            throw PluginCallError.nonFiniteScore(
                plugin: plugin, path: path, value: "\(scores[e])", row: row, latent: latent)
        }
    }
}
