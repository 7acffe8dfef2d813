import TensorFiles
import TestSupport
import Testing

/// `eval meta`; Tests/Peers/saebench.py holds it against SAEBench's own.
@Suite struct EvalMetaTests {
    @Test func `results are SAEBench's, with controls and parts beside them`() throws {
        let folder = TemporaryFolder()
        let golden = try Golden("gxa/gxa.safetensors")
        let sae = folder.file("sae"), out = folder.file("meta.json")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: sae)
        let common = ["eval", "meta", "--sae", sae, "--steps", "60", "--batch", "64", "--lr", "5e-3", "--quiet"]
        let text = try succeed(common + ["--out", out])
        #expect(text.contains("decoder_fraction_variance_explained") && text.contains("of isotropic random rows"))
        let record = try JSONValue(contentsOf: out)
        #expect(record["eval_type_id"]?.string == "meta_structure_decoder_variance")
        #expect(record["eval_config"]?["train_steps"]?.integer == 60 && record["eval_config"]?["k"]?.integer == 4)
        let metrics = try #require(record["eval_result_metrics"]?["meta_structure"])
        let explained = try #require(metrics["decoder_fraction_variance_explained"]?.double)
        #expect(explained > 0 && explained < 1 && metrics["train_time_seconds"]?.double ?? 0 > 0)
        let extra = try #require(record["eval_result_unstructured"]?["dmsae"])
        #expect(extra["meta_latents"]?.integer == 32)
        #expect(Set(extra["controls"]?.object?.keys.map { $0 } ?? []) == ["isotropic", "covariance"])
        let parts = try #require(extra["parts"]?.array)
        #expect(parts.map { $0["count"]?.integer } == [8, 24, 32, 64])
        #expect(parts[0]["others_variance_explained"]?["low"]?.double != nil)
        #expect(extra["settings"]?["SAE sae_weights.safetensors.sha256"]?.string != nil)
        let again = try JSONValue(parsing: succeed(common + ["--json", "--no-controls"]))
        #expect(
            again["eval_result_metrics"]?["meta_structure"]?["decoder_fraction_variance_explained"]?.double == explained
        )
        #expect(again["eval_result_unstructured"]?["dmsae"]?["controls"]?.object?.isEmpty == true)
        try fail(common + ["--k", "0"], status: 64, saying: "--k is 0; it must be at least 1")
        try fail(common + ["--out", sae + "/cfg.json"], saying: "a file of")
    }
}
