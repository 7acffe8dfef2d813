/// One file of SAEBench's core results, every key of its schema, so that its own readers and plots take it. What has no place there
/// stands under `eval_result_unstructured.dmsae`.
public struct CoreEvaluationOutput: Encodable, Sendable {
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

    /// The SAE, under SAELens's keys.
    public struct SAEConfig: Encodable, Sendable {
        public var architecture = "jumprelu"
        public var model_name: String
        public var d_in: Int
        public var d_sae: Int
        public var hook_name: String
        public var hook_layer: Int
        public var context_size: Int?
        public var dtype = "float32"
        public var normalize_activations = "none"

        /// An SAE of these sizes, applied there.
        public init(model: String, dIn: Int, dSAE: Int, hook: String, layer: Int, context: Int?) {
            (model_name, d_in, d_sae, hook_name, hook_layer) = (model, dIn, dSAE, hook, layer)
            context_size = context
        }
    }

    /// What SAEBench has no keys for.
    public struct Extra: Encodable, Sendable {
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
    }

    private struct Unstructured: Encodable, Sendable { let dmsae: Extra }

    /// null, for keys that must be there.
    private struct Null: Encodable, Sendable {
        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            try container.encodeNil()
        }
    }

    private let eval_type_id = "core"
    private let eval_config: Config
    private let eval_id: String
    private let datetime_epoch_millis: Int
    private let eval_result_metrics: CoreMetricCategories
    private let eval_result_details: [CoreFeatureMetric]
    private let sae_bench_commit_hash: String
    private let sae_lens_id: String
    private let sae_lens_release_id: String
    private let sae_lens_version = Null()
    private let sae_cfg_dict: SAEConfig
    private let eval_result_unstructured: Unstructured

    /// Findings with where they come from: `program` made them, at so many seconds since 1970; `release` and `name` tell SAEs apart.
    public init(
        _ findings: CoreEvaluation.Findings, _ config: Config, _ sae: SAEConfig, release: String, name: String,
        settings: [String: String], draws: Int, id: String, seconds: Double, program: String
    ) {
        eval_config = config
        eval_id = id
        datetime_epoch_millis = Int(seconds * 1000)
        eval_result_metrics = findings.metrics
        eval_result_details = findings.features
        sae_bench_commit_hash = program
        (sae_lens_id, sae_lens_release_id, sae_cfg_dict) = (name, release, sae)
        eval_result_unstructured = Unstructured(
            dmsae: Extra(
                settings: settings, sequences: findings.sequences, tokens: findings.tokens, draws: draws,
                intervals: findings.intervals,
                explained_variance_of_sae_bench_0_6: findings.explained_variance_of_sae_bench_0_6,
                density_histogram: findings.density_histogram))
    }
}
