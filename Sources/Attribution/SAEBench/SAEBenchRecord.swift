/// One file of SAEBench's results, every key of its schemas, so that its own readers and plots take it. What has no place there
/// stands under `eval_result_unstructured.dmsae`.
public struct SAEBenchRecord<Config, Metrics, Detail, Extra>: Encodable, Sendable
where
    Config: Encodable & Sendable, Metrics: Encodable & Sendable, Detail: Encodable & Sendable,
    Extra: Encodable & Sendable
{
    private struct Unstructured: Encodable, Sendable { let dmsae: Extra }

    /// null, for keys that must be there.
    private struct Null: Encodable, Sendable {
        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            try container.encodeNil()
        }
    }

    private let eval_type_id: String
    private let eval_config: Config
    private let eval_id: String
    private let datetime_epoch_millis: Int
    private let eval_result_metrics: Metrics
    private let eval_result_details: [Detail]
    private let sae_bench_commit_hash: String
    private let sae_lens_id: String
    private let sae_lens_release_id: String
    private let sae_lens_version = Null()
    private let sae_cfg_dict: SAEBenchSAE
    private let eval_result_unstructured: Unstructured

    /// Results of an evaluation by SAEBench's name of it, with where they come from.
    public init(
        type: String, config: Config, metrics: Metrics, details: [Detail], extra: Extra, sae: SAEBenchSAE,
        origin: SAEBenchOrigin
    ) {
        (eval_type_id, eval_config, eval_result_metrics, eval_result_details) = (type, config, metrics, details)
        eval_id = origin.id
        datetime_epoch_millis = Int(origin.seconds * 1000)
        sae_bench_commit_hash = origin.program
        (sae_lens_id, sae_lens_release_id, sae_cfg_dict) = (origin.name, origin.release, sae)
        eval_result_unstructured = Unstructured(dmsae: extra)
    }
}

/// Where results come from.
public struct SAEBenchOrigin: Sendable {
    /// These two tell SAEs apart.
    public var release = "dmsae"
    public var name: String
    /// Of this evaluation alone.
    public var id: String
    /// Since 1970.
    public var seconds: Double
    /// What made them.
    public var program: String

    /// Of an SAE of this name, made by `program`.
    public init(name: String, id: String, seconds: Double, program: String) {
        (self.name, self.id, self.seconds, self.program) = (name, id, seconds, program)
    }
}

/// The SAE of a result, under SAELens's keys.
public struct SAEBenchSAE: Encodable, Sendable {
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
