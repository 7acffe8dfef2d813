import Attribution
import CDMSAE
import LinearAlgebra

/// A scorer that lives in a plugin.
///
/// The arrays of a batch are lent, never copied. What comes back is checked: every score written, every score finite.
public final class PluginScorer: AttributionScorer {
    private let instance: PluginInstance
    private let table: dmsae_scorer_per_token

    /// A NaN that arithmetic does not produce, put into every score before the call: what still holds it afterwards
    /// was not written.
    private static let unwritten: UInt32 = 0x7FC0_D35A

    /// A scorer of the given plugin.
    /// - Throws: a `PluginError`.
    public init(
        _ plugin: PluginDescriptor, of library: PluginLibrary, parameters: [PluginReference.Parameter] = [],
        services: PluginServices
    ) throws {
        instance = try PluginInstance(plugin, of: library, parameters: parameters, services: services)
        table = try instance.table(
            DMSAE_SCORER_PER_TOKEN, dmsae_scorer_per_token.self, notNull: [("score", \.score)])
    }

    /// The plugin's id.
    public var name: String { instance.plugin.id }
    /// The plugin's version.
    public var version: String { instance.plugin.version }
    /// All that the plugin says about itself.
    public var plugin: PluginDescriptor { instance.plugin }
    /// The file it is in.
    public var path: String { instance.library.path }
    /// Its settings, in the order given.
    public var parameters: [PluginReference.Parameter] { instance.parameters }

    /// Scores a batch; see `AttributionScorer`.
    /// - Throws: `PluginError.failed`, `.cancelled`, `.lost`, `.unwrittenScore`, `.nonFiniteScore`.
    public func score(_ batch: ScoringBatch, into scores: UnsafeMutableBufferPointer<Float>) throws {
        let codes = batch.codes, N = codes.rows
        precondition(scores.count == codes.count, "\(scores.count) scores for \(codes.count) entries")
        precondition(
            batch.residual.rows == N && batch.reconstruction.rows == N && batch.gradient.rows == N
                && batch.loss.count == N && batch.tokens.count == N && batch.scored.count == N,
            "a batch of \(N) tokens with parts of another length")
        let d = batch.decoder.columns
        precondition(
            batch.decoder.rows >= codes.columns && batch.decoderBias.columns == d && batch.residual.columns == d
                && batch.reconstruction.columns == d && batch.gradient.columns == d,
            "a batch of \(codes.columns) latents in \(d) dimensions with parts of another width")
        guard let output = scores.baseAddress, codes.count > 0 else { return }  // DMSAE-SCORER-06
        output.update(repeating: Float(bitPattern: Self.unwritten), count: scores.count)
        // Each array is passed as a pointer that is valid for this call.
        try call(
            batch, batch.loss, batch.tokens, batch.sequenceOffsets, batch.scored, batch.prefixWidths, into: output)
        try check(UnsafeBufferPointer(scores), codes)
    }

    private func call(
        _ batch: ScoringBatch, _ loss: UnsafePointer<Float>, _ tokens: UnsafePointer<Int32>,
        _ sequenceOffsets: UnsafePointer<Int64>, _ scored: UnsafePointer<UInt8>, _ prefixWidths: UnsafePointer<Int64>,
        into scores: UnsafeMutablePointer<Float>
    ) throws {
        let N = batch.codes.rows
        var views = BorrowedViews(capacity: 5)
        let decoder = views.matrix(batch.decoder, rows: batch.codes.columns)
        let decoderBias = views.vector(batch.decoderBias)
        let residual = views.matrix(batch.residual, rows: N)
        let reconstruction = views.matrix(batch.reconstruction, rows: N)
        let gradient = views.matrix(batch.gradient, rows: N)
        try withUnsafePointer(to: dmsae_csr(batch.codes)) { codes in
            var argument = dmsae_scorer_batch(
                struct_size: UInt32(MemoryLayout<dmsae_scorer_batch>.size),
                splice_mode: batch.errorTermAdded
                    ? .DMSAE_SPLICE_RECONSTRUCTION_PLUS_ERROR : .DMSAE_SPLICE_RECONSTRUCTION,
                codes: codes, decoder: decoder, decoder_bias: decoderBias, residual: residual,
                reconstruction: reconstruction, gradient: gradient, loss: loss, tokens: tokens,
                sequence_offsets: sequenceOffsets, sequence_count: Int64(batch.sequenceOffsets.count - 1),
                scored: scored, first_token: Int64(batch.firstToken), core_begin: 0,
                core_end: Int64(batch.coreCount), prefix_widths: prefixWidths,
                prefix_count: Int64(batch.prefixWidths.count), spliced_width: Int64(batch.splicedWidth),
                first_sequence: Int64(batch.firstSequence))
            try instance.call("score") { table.score($0, &argument, scores, $1) }
        }
        // The views own what the argument points at.
        extendLifetime(views)
    }

    private func check(_ scores: UnsafeBufferPointer<Float>, _ codes: SparseCodes) throws {
        // NaN and infinity alone have all bits of the exponent set. The scan has no exit, so that it vectorises.
        var suspicious: UInt32 = 0
        for score in scores { suspicious |= score.bitPattern & 0x7F80_0000 == 0x7F80_0000 ? 1 : 0 }
        guard suspicious != 0 else { return }
        var unwritten = 0
        for score in scores where score.bitPattern == Self.unwritten { unwritten += 1 }
        if unwritten > 0, let e = scores.firstIndex(where: { $0.bitPattern == Self.unwritten }) {
            let (row, latent) = codes.position(of: e)
            throw PluginError.unwrittenScore(
                plugin: name, path: path, row: row, latent: latent, unwritten: unwritten, count: scores.count)
        }
        if let e = scores.firstIndex(where: { !$0.isFinite }) {
            let (row, latent) = codes.position(of: e)
            throw PluginError.nonFiniteScore(
                plugin: name, path: path, value: "\(scores[e])", row: row, latent: latent)
        }
    }
}
