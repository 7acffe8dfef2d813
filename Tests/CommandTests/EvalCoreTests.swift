import TensorFiles
import TestSupport
import Testing

/// `eval core`: SAEBench's file. Its numbers are held against their definitions in CoreEvaluationTests, and against SAEBench's own code
/// and schema in Tests/Peers/measures.py.
@Suite struct EvalCoreTests {
    private let tiny: TinyModel
    private let common: [String]

    init() throws {
        tiny = try TinyModel()
        let golden = try Golden("gxa/gxa.safetensors")
        let sae = tiny.folder.file("sae")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: sae)
        common =
            ["--model", tiny.model, "--sae", sae, "--text", tiny.text, "--tokens", "512", "--context", "32", "--quiet"]
    }

    /// What the schema of sae-bench 0.6 requires, by category.
    private static let metrics: [String: Set<String>] = [
        "model_behavior_preservation": ["kl_div_score", "kl_div_with_ablation", "kl_div_with_sae"],
        "model_performance_preservation": [
            "ce_loss_score", "ce_loss_with_ablation", "ce_loss_with_sae", "ce_loss_without_sae",
        ],
        "reconstruction_quality": ["explained_variance", "explained_variance_legacy", "mse", "cossim"],
        "shrinkage": ["l2_norm_in", "l2_norm_out", "l2_ratio", "relative_reconstruction_bias"],
        "sparsity": ["l0", "l1"],
        "token_stats": ["total_tokens_eval_reconstruction", "total_tokens_eval_sparsity_variance"],
        "misc_metrics": [
            "freq_over_1_percent", "freq_over_10_percent", "normalized_freq_over_1_percent",
            "normalized_freq_over_10_percent", "average_max_encoder_cosine_sim", "average_max_decoder_cosine_sim",
            "frac_alive",
        ],
    ]

    @Test func `the file has every key of SAEBench's schema, and what it was made of`() throws {
        let out = tiny.folder.file("core.json")
        let printed = try succeed(["eval", "core"] + common + ["--json", "--out", out])
        let record = try JSONValue(contentsOf: out)
        #expect(try JSONValue(parsing: printed) == record)
        #expect(
            Set(record.object?.keys.map { $0 } ?? []) == [
                "eval_type_id", "eval_config", "eval_id", "datetime_epoch_millis", "eval_result_metrics",
                "eval_result_details", "sae_bench_commit_hash", "sae_lens_id", "sae_lens_release_id",
                "sae_lens_version", "sae_cfg_dict", "eval_result_unstructured",
            ])
        let found = try #require(record["eval_result_metrics"]?.object)
        #expect(found.mapValues { Set($0.object?.keys.map { $0 } ?? []) } == Self.metrics)
        #expect(record["eval_type_id"]?.string == "core" && record["sae_lens_version"] == .null)
        #expect(record["eval_id"]?.string?.count == 36)
        #expect(record["eval_config"]?["batch_size_prompts"]?.integer == 8)
        #expect(record["eval_config"]?["n_eval_reconstruction_batches"]?.integer == 2)
        #expect(record["sae_cfg_dict"]?["hook_name"]?.string == "blocks.1.hook_resid_post")
        let features = try #require(record["eval_result_details"]?.array)
        #expect(features.count == 128 && features[3]["index"]?.integer == 3)
        #expect(
            Set(features[0].object?.keys.map { $0 } ?? []) == [
                "index", "feature_density", "consistent_activation_heuristic", "encoder_bias", "encoder_norm",
                "encoder_decoder_cosine_sim", "max_decoder_cosine_sim", "max_encoder_cosine_sim",
            ])
        let extra = try #require(record["eval_result_unstructured"]?["dmsae"])
        #expect(extra["intervals"]?["kl_div_score"]?["low"]?.double != nil && extra["draws"]?.integer == 200)
        let settings = try #require(extra["settings"]?.object)
        for key in ["model.sha256", "text.sha256", "keep_first", "sinks", "context", "seed", "dmsae"] {
            #expect(settings[key]?.string != nil, "\(key)")
        }
        // Where both commands measure the same, they find the same.
        let eval = try JSONValue(parsing: try succeed(["eval"] + common + ["--json"]))
        func value(_ group: String, _ name: String) -> Double { found[group]?[name]?.double ?? .nan }
        for (group, name) in [
            ("reconstruction_quality", "explained_variance"), ("reconstruction_quality", "cossim"),
            ("reconstruction_quality", "explained_variance_legacy"), ("sparsity", "l0"), ("shrinkage", "l2_ratio"),
            ("misc_metrics", "frac_alive"),
        ] {
            #expect(isNear(value(group, name), eval[name]?.double ?? .nan, within: 1e-9), "\(name)")
        }
    }

    @Test func `people see each metric with its interval`() throws {
        let text = try succeed(["eval", "core"] + common + ["--draws", "20"])
        let line = try #require(text.split(separator: "\n").first { $0.hasPrefix("kl_div_score") })
        #expect(line.contains("[") && line.hasSuffix("]"))
        #expect(text.contains("never       0, ") && text.contains("-0.5 to 0.0 "), "\(text)")
        let again = try succeed(["eval", "core"] + common + ["--draws", "20"])
        #expect(again == text, "the draws are those of the seed")
    }

    @Test func `what does not fit is refused`() throws {
        try fail(
            ["eval", "core"] + common + ["--draws", "19"], status: 64, saying: "--draws is 19; it must be at least 20")
        try fail(
            ["eval", "core"] + common + ["--out", tiny.text],
            saying: "it is read by this command, and would be replaced")
        try fail(
            ["eval", "core"] + common + ["--keep-first", "32"], saying: "all of 512 tokens are kept as the model's own")
    }
}
