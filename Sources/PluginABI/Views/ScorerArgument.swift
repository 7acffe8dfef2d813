import Attribution
import CDMSAE
import LinearAlgebra

extension ScoringBatch {
    /// Lends the batch in its C form for the length of `body`; nothing is copied.
    package func withArgument<Result>(_ body: (UnsafePointer<dmsae_scorer_batch>) throws -> Result) rethrows -> Result {
        let N = codes.rows, d = decoder.columns
        precondition(
            residual.rows == N && reconstruction.rows == N && gradient.rows == N && loss.count == N
                && tokens.count == N && scored.count == N,
            "a batch of \(N) tokens with parts of another length")
        precondition(
            decoder.rows >= codes.columns && decoderBias.columns == d && residual.columns == d
                && reconstruction.columns == d && gradient.columns == d,
            "a batch of \(codes.columns) latents in \(d) dimensions with parts of another width")
        // Each array is passed as a pointer that is valid for this call.
        return try lend(loss, tokens, sequenceOffsets, scored, prefixWidths, body)
    }

    private func lend<Result>(
        _ loss: UnsafePointer<Float>, _ tokens: UnsafePointer<Int32>, _ sequenceOffsets: UnsafePointer<Int64>,
        _ scored: UnsafePointer<UInt8>, _ prefixWidths: UnsafePointer<Int64>,
        _ body: (UnsafePointer<dmsae_scorer_batch>) throws -> Result
    ) rethrows -> Result {
        var views = BorrowedViews(capacity: 5)
        let decoder = views.matrix(self.decoder, rows: codes.columns)
        let decoderBias = views.vector(self.decoderBias)
        let residual = views.matrix(self.residual, rows: codes.rows)
        let reconstruction = views.matrix(self.reconstruction, rows: codes.rows)
        let gradient = views.matrix(self.gradient, rows: codes.rows)
        let result = try withUnsafePointer(to: dmsae_csr(codes)) { codes in
            var argument = dmsae_scorer_batch(
                struct_size: UInt32(MemoryLayout<dmsae_scorer_batch>.size),
                splice_mode: dmsae_splice_mode(errorTermAdded: errorTermAdded), codes: codes, decoder: decoder,
                decoder_bias: decoderBias, residual: residual, reconstruction: reconstruction, gradient: gradient,
                loss: loss, tokens: tokens, sequence_offsets: sequenceOffsets,
                sequence_count: Int64(self.sequenceOffsets.count - 1), scored: scored,
                first_token: Int64(firstToken), core_begin: 0, core_end: Int64(coreCount),
                prefix_widths: prefixWidths, prefix_count: Int64(self.prefixWidths.count),
                spliced_width: Int64(splicedWidth), first_sequence: Int64(firstSequence))
            return try body(&argument)
        }
        // The views own what the argument points at.
        extendLifetime(views)
        return result
    }
}

extension dmsae_splice_mode {
    init(errorTermAdded: Bool) {
        self = errorTermAdded ? .DMSAE_SPLICE_RECONSTRUCTION_PLUS_ERROR : .DMSAE_SPLICE_RECONSTRUCTION
    }
}

extension dmsae_scoring_plan {
    /// The C form of a plan; fields in step with `ScoringPlan`.
    package init(_ plan: ScoringPlan) {
        self.init(
            struct_size: UInt32(MemoryLayout<dmsae_scoring_plan>.size),
            splice_mode: dmsae_splice_mode(errorTermAdded: plan.errorTermAdded), latent_count: Int64(plan.latentCount),
            dimension: Int64(plan.dimension), sequence_count: Int64(plan.sequenceCount),
            token_count: Int64(plan.tokenCount), core_begin: 0, core_end: Int64(plan.coreCount),
            evaluation_budget: plan.evaluationBudget.map(Int64.init) ?? .max)
    }
}
