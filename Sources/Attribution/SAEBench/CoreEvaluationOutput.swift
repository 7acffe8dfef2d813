/// What `SAEBenchRecord` holds of a core evaluation.
public enum CoreEvaluationOutput {
    /// A file of it.
    public typealias Record = SAEBenchRecord<Config, CoreMetricCategories, CoreFeatureMetric, Extra>
    /// SAEBench's name.
    public static let type = "core"

    /// What was run, in SAEBench's terms.
    public struct Config: Encodable, Sendable {
        public var model_name: String
        public var llm_dtype = "float32"
        public var batch_size_prompts: Int
        public var n_eval_reconstruction_batches: Int
        public var n_eval_sparsity_variance_batches: Int
        public var dataset: String
        public var context_size: Int
        public var compute_kl = true
        public var compute_ce_loss = true
        public var compute_l2_norms = true
        public var compute_sparsity_metrics = true
        public var compute_variance_metrics = true
        public var compute_featurewise_density_statistics = true
        public var compute_featurewise_weight_based_metrics = true
        public var exclude_special_tokens_from_reconstruction: Bool
        public var verbose = false

        /// Batches of so many sequences of so many tokens, all of them for every metric.
        public init(model: String, text: String, sequences: Int, batch: Int, context: Int, excludesSpecial: Bool) {
            model_name = model
            dataset = text
            batch_size_prompts = batch
            context_size = context
            n_eval_reconstruction_batches = (sequences + batch - 1) / batch
            n_eval_sparsity_variance_batches = n_eval_reconstruction_batches
            exclude_special_tokens_from_reconstruction = excludesSpecial
        }
    }

    /// What SAEBench has no keys for.
    public struct Extra: Codable, Sendable {
        /// Everything that the numbers depend on.
        public var settings: [String: String]
        public var sequences: Int
        /// Tokens that were reconstructed.
        public var tokens: Int
        public var draws: Int
        /// 95% of the results when sequences are drawn again. None for frequencies and the share of latents that are alive: a rare
        /// latent is missed by many draws, so they would lie too low.
        public var intervals: [String: Interval]
        /// What sae-bench 0.6.0 calls explained_variance.
        public var explained_variance_of_sae_bench_0_6: Double
        public var density_histogram: DensityHistogram

        /// Of findings that `draws` drawn samples gave intervals.
        public init(_ findings: CoreEvaluation.Findings, settings: [String: String], draws: Int) {
            (self.settings, self.draws) = (settings, draws)
            (sequences, tokens, intervals) = (findings.sequences, findings.tokens, findings.intervals)
            explained_variance_of_sae_bench_0_6 = findings.explained_variance_of_sae_bench_0_6
            density_histogram = findings.density_histogram
        }
    }
}
