import Attribution
import CDMSAE
import LinearAlgebra
import TensorFiles

extension ScoringBatch {
    /// Lends the batch in its C form for the length of `body`; nothing is copied.
    ///
    /// - Parameter minor: of the host that the plugin demands.
    package func withArgument<Result>(
        minor: UInt32 = 0, _ body: (UnsafePointer<dmsae_scorer_batch>) throws -> Result
    ) rethrows -> Result {
        let N = codes.rows, d = decoder.columns
        precondition(
            residual.rows == N && reconstruction.rows == N && gradient.rows == N && loss.count == N
                && tokens.count == N && scored.count == N,
            "a batch of \(N) tokens with parts of another length")
        precondition(
            decoder.rows >= codes.columns && decoderBias.columns == d && residual.columns == d
                && reconstruction.columns == d && gradient.columns == d,
            "a batch of \(codes.columns) latents in \(d) dimensions with parts of another width")
        let norms = residualNorms
        precondition(norms.count == N && targetProbabilities?.count ?? N == N, "a number a token")
        // Each array is passed as a pointer that is valid for this call.
        return try lend(
            minor, loss, tokens, sequenceOffsets, scored, prefixWidths, targetProbabilities ?? [], norms,
            documentOffsets, body)
    }

    private func lend<Result>(
        _ minor: UInt32, _ loss: UnsafePointer<Float>, _ tokens: UnsafePointer<Int32>,
        _ sequenceOffsets: UnsafePointer<Int64>,
        _ scored: UnsafePointer<UInt8>, _ prefixWidths: UnsafePointer<Int64>,
        _ targetProbabilities: UnsafePointer<Float>, _ residualNorms: UnsafePointer<Float>,
        _ documentOffsets: UnsafePointer<Int64>,
        _ body: (UnsafePointer<dmsae_scorer_batch>) throws -> Result
    ) rethrows -> Result {
        var views = BorrowedViews(capacity: 8, minor: minor)
        let decoder = views.matrix(self.decoder, rows: codes.columns)
        let decoderBias = views.vector(self.decoderBias)
        let residual = views.matrix(self.residual, rows: codes.rows)
        let reconstruction = views.matrix(self.reconstruction, rows: codes.rows)
        let gradient = views.matrix(self.gradient, rows: codes.rows)
        let encoder = encoder.map { views.matrix($0.weights, rows: codes.columns) }
        let encoderBias = self.encoder.map { views.vector($0.bias, count: codes.columns) }
        let thresholds = self.encoder?.thresholds.map { views.vector($0, count: codes.columns) }
        let result = try withUnsafePointer(to: dmsae_csr(codes)) { codes in
            var argument = dmsae_scorer_batch(
                struct_size: UInt32(MemoryLayout<dmsae_scorer_batch>.size),
                splice_mode: dmsae_splice_mode(errorTermAdded: errorTermAdded), codes: codes, decoder: decoder,
                decoder_bias: decoderBias, residual: residual, reconstruction: reconstruction, gradient: gradient,
                loss: loss, tokens: tokens, sequence_offsets: sequenceOffsets,
                sequence_count: Int64(self.sequenceOffsets.count - 1), scored: scored,
                first_token: Int64(firstToken), core_begin: 0, core_end: Int64(coreCount),
                prefix_widths: prefixWidths, prefix_count: Int64(self.prefixWidths.count),
                spliced_width: Int64(splicedWidth), first_sequence: Int64(firstSequence),
                encoder: encoder, encoder_bias: encoderBias, thresholds: thresholds,
                top_k: Int64(self.encoder?.topK ?? 0),
                target_probabilities: self.targetProbabilities == nil ? nil : targetProbabilities,
                residual_norms: residualNorms, document_offsets: documentOffsets,
                document_count: Int64(self.documentOffsets.count - 1),
                flags: subtractsDecoderBias ? DMSAE_BATCH_SUBTRACTS_DECODER_BIAS : 0, layer: Int32(hook.block),
                hook: dmsae_hook(hook.kind))
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

extension dmsae_hook {
    init(_ kind: HookPoint.Kind) {
        self =
            switch kind {
            case .residPre: .DMSAE_HOOK_RESID_PRE
            case .attnOut: .DMSAE_HOOK_ATTN_OUT
            case .mlpOut: .DMSAE_HOOK_MLP_OUT
            case .residPost: .DMSAE_HOOK_RESID_POST
            }
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
            evaluation_budget: plan.evaluationBudget.map(Int64.init) ?? .max, pass_count: Int64(plan.passCount),
            pass: Int64(plan.pass))
    }
}
