extension CoreMetricCategories {
    /// From metrics over tokens, by name, and what is counted by batch and by latent.
    init(
        _ metrics: [String: Double], _ batches: BatchMeans, _ firings: LatentFirings, _ weights: LatentWeights,
        positions: Int
    ) {
        func value(_ name: String) -> Double { numberOrMinusOne(metrics[name] ?? .nan) }
        model_behavior_preservation = ModelBehaviorPreservation(
            kl_div_score: value("kl_div_score"), kl_div_with_ablation: value("kl_div_with_ablation"),
            kl_div_with_sae: value("kl_div_with_sae"))
        model_performance_preservation = ModelPerformancePreservation(
            ce_loss_score: value("ce_loss_score"), ce_loss_with_ablation: value("ce_loss_with_ablation"),
            ce_loss_with_sae: value("ce_loss_with_sae"), ce_loss_without_sae: value("ce_loss_without_sae"))
        reconstruction_quality = ReconstructionQuality(
            explained_variance: value("explained_variance"),
            explained_variance_legacy: value("explained_variance_legacy"), mse: batches.meanSquaredError,
            cossim: value("cossim"))
        shrinkage = Shrinkage(
            l2_norm_in: value("l2_norm_in"), l2_norm_out: value("l2_norm_out"), l2_ratio: value("l2_ratio"),
            relative_reconstruction_bias: numberOrMinusOne(batches.relativeReconstructionBias))
        sparsity = Sparsity(l0: value("l0"), l1: value("l1"))
        token_stats = TokenStats(
            total_tokens_eval_reconstruction: positions, total_tokens_eval_sparsity_variance: positions)
        func mean(_ values: [Double]) -> Double {
            numberOrMinusOne(values.reduce(0, +) / Double(values.count))
        }
        let (one, ten) = (firings.over(0.01), firings.over(0.1))
        misc_metrics = Misc(
            freq_over_1_percent: one.latents, freq_over_10_percent: ten.latents,
            normalized_freq_over_1_percent: one.firings, normalized_freq_over_10_percent: ten.firings,
            average_max_encoder_cosine_sim: mean(weights.largestEncoderCosine),
            average_max_decoder_cosine_sim: mean(weights.largestDecoderCosine),
            frac_alive: firings.over(0).latents)
    }
}

extension CoreFeatureMetric {
    /// Of every latent.
    static func all(_ firings: LatentFirings, _ weights: LatentWeights) -> [CoreFeatureMetric] {
        firings.densities.enumerated().map { j, density in
            CoreFeatureMetric(
                index: j, feature_density: density,
                consistent_activation_heuristic: numberOrMinusOne(
                    Double(firings.counts[j]) / Double(firings.sequences[j])),
                encoder_bias: weights.encoderBias[j], encoder_norm: weights.encoderNorm[j],
                encoder_decoder_cosine_sim: numberOrMinusOne(weights.encoderDecoderCosine[j]),
                max_decoder_cosine_sim: numberOrMinusOne(weights.largestDecoderCosine[j]),
                max_encoder_cosine_sim: numberOrMinusOne(weights.largestEncoderCosine[j]))
        }
    }
}

/// −1 for what is no number, as SAEBench writes it.
private func numberOrMinusOne(_ value: Double) -> Double { value.isFinite ? value : -1 }
