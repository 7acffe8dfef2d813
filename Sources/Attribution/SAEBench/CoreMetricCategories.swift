/// SAEBench's core metrics under its names (arXiv:2503.09532, `eval_output_schema_core.json` of sae-bench 0.6); losses and
/// divergences in nats.
public struct CoreMetricCategories: Codable, Sendable, Equatable {
    /// KL(p° ‖ p) from the model's own distribution.
    public struct ModelBehaviorPreservation: Codable, Sendable, Equatable {
        /// (ablation − sae) / ablation.
        public var kl_div_score: Double
        public var kl_div_with_ablation: Double
        public var kl_div_with_sae: Double
    }

    /// Next-token losses.
    public struct ModelPerformancePreservation: Codable, Sendable, Equatable {
        /// (ablation − sae) / (ablation − without).
        public var ce_loss_score: Double
        /// With the whole hook output zeroed, first positions and special tokens included.
        public var ce_loss_with_ablation: Double
        public var ce_loss_with_sae: Double
        public var ce_loss_without_sae: Double
    }

    /// x̂ beside x.
    public struct ReconstructionQuality: Codable, Sendable, Equatable {
        /// 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖². SAEBench's own figure under this name takes mean squares for a squared mean; it is
        /// `CoreEvaluation.Findings.explained_variance_of_sae_bench_0_6`.
        public var explained_variance: Double
        /// mean_t [1 − ‖x_t − x̂_t‖² / ‖x_t − x̄_batch‖²].
        public var explained_variance_legacy: Double
        /// mean_t [‖x_t − x̂_t‖² / tokens of t's batch]: as large as a batch is small.
        public var mse: Double
        public var cossim: Double
    }

    /// Norms of x̂ beside those of x.
    public struct Shrinkage: Codable, Sendable, Equatable {
        public var l2_norm_in: Double
        public var l2_norm_out: Double
        /// mean_t [‖x̂‖ / ‖x‖], norms below 10⁻⁴ as 1.
        public var l2_ratio: Double
        /// Mean over batches of E‖x̂‖² / E⟨x, x̂⟩.
        public var relative_reconstruction_bias: Double
    }

    /// How many latents fire, and how much.
    public struct Sparsity: Codable, Sendable, Equatable {
        public var l0: Double
        public var l1: Double
    }

    /// Positions of all sequences, those that count nowhere included.
    public struct TokenStats: Codable, Sendable, Equatable {
        public var total_tokens_eval_reconstruction: Int
        public var total_tokens_eval_sparsity_variance: Int
    }

    /// Frequencies and directions of latents.
    public struct Misc: Codable, Sendable, Equatable {
        /// Share of latents that fire on more than 1% of tokens.
        public var freq_over_1_percent: Double
        public var freq_over_10_percent: Double
        /// Share of all firings that are theirs.
        public var normalized_freq_over_1_percent: Double
        public var normalized_freq_over_10_percent: Double
        public var average_max_encoder_cosine_sim: Double
        public var average_max_decoder_cosine_sim: Double
        /// Share of latents that fired at all.
        public var frac_alive: Double
    }

    public var model_behavior_preservation: ModelBehaviorPreservation
    public var model_performance_preservation: ModelPerformancePreservation
    public var reconstruction_quality: ReconstructionQuality
    public var shrinkage: Shrinkage
    public var sparsity: Sparsity
    public var token_stats: TokenStats
    public var misc_metrics: Misc
}

/// SAEBench's metrics of one latent. What has no value is −1, as there.
public struct CoreFeatureMetric: Codable, Sendable, Equatable {
    public var index: Int
    /// Share of tokens on which it fires.
    public var feature_density: Double
    /// Tokens on which it fires, per sequence in which it does.
    public var consistent_activation_heuristic: Double
    public var encoder_bias: Double
    public var encoder_norm: Double
    public var encoder_decoder_cosine_sim: Double
    /// The largest cosine of its decoder row with another latent's.
    public var max_decoder_cosine_sim: Double
    public var max_encoder_cosine_sim: Double
}
