import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// `eval absorption` on a small random model, whose probes know little. Against SAEBench's own code it is held in
/// Tests/Peers/absorption.py.
@Suite struct EvalAbsorptionTests {
    private let tiny: TinyModel
    private let common: [String]
    private var out: String { tiny.folder.file("absorption.json") }

    init() throws {
        tiny = try TinyModel()
        let golden = try Golden("gxa/gxa.safetensors")
        let sae = tiny.folder.file("sae")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: sae)
        common = [
            "eval", "absorption", "--model", tiny.model, "--sae", sae, "--layer", "1", "--quiet",
        ]
    }

    private let anyLetter = ["--examples", "1", "--min-probe-f1", "0", "--min-letters", "2", "--controls", "2"]

    @Test func `results are SAEBench's, and activations that are kept are used again`() throws {
        let kept = tiny.folder.file("kept")
        let arguments = common + anyLetter + ["--activations", kept, "--out", out]
        let text = try succeed(arguments)
        let record = try JSONValue(contentsOf: out)
        #expect(record["eval_type_id"]?.string == "absorption_first_letter")
        let config = record["eval_config"]
        #expect(config?["f1_jump_threshold"]?.double == 0.03 && config?["max_k_value"]?.integer == 10)
        #expect(config?["prompt_template"]?.string == "{word} has the first letter:")
        let details = try #require(record["eval_result_details"]?.array)
        #expect(details.count >= 2)
        let fractions = details.map { $0["mean_absorption_fraction"]?.double ?? .nan }
        let mean = try #require(record["eval_result_metrics"]?["mean"])
        #expect(
            isNear(
                mean["mean_absorption_fraction_score"]?.double ?? .nan,
                fractions.reduce(0, +) / Double(fractions.count), within: 1e-12))
        let extra = try #require(record["eval_result_unstructured"]?["dmsae"])
        let settings = try #require(extra["settings"]?.object)
        for key in [
            "model.sha256", "SAE sae_weights.safetensors.sha256", "seed", "words", "examples", "layer", "scale",
        ] {
            #expect(settings[key]?.string != nil, "\(key)")
        }
        let sets = try #require(extra["summary"]?["sets"]?.array)
        #expect(sets.first?["set"]?.string == "all" && sets.contains { $0["set"]?.string == "prefix 32" })
        #expect(
            text.contains("letters whose probe has an F1 above 0.00") && text.contains("mean_full_absorption_score"))

        // The same again without the model, and with what lies there in place of activations.
        func metrics(_ more: [String] = []) throws -> JSONValue? {
            try JSONValue(parsing: succeed(common + anyLetter + ["--json"] + more))["eval_result_metrics"]
        }
        #expect(try metrics(["--activations", kept]) == record["eval_result_metrics"])
        #expect(try metrics() == record["eval_result_metrics"])
        let path = kept + "/spelling.safetensors"
        let file = try SafetensorsFile(path: path)
        var writer = SafetensorsWriter(metadata: file.metadata)
        for name in ["train", "test", "again", "weights"] {
            writer.add(
                name, name == "again" ? Matrix(rows: try file.matrix(name).rows, columns: 48) : try file.matrix(name))
        }
        writer.add("biases", try file.doubles("biases").map { Float($0) })
        writer.add("spelled", integers: try file.integers("spelled"))
        try writer.write(to: path)
        #expect(
            try metrics(["--activations", kept])?["mean"]?["mean_absorption_fraction_score"]?.double == 0,
            "probes see nothing of activations that are 0")
        #expect(try metrics(["--activations", kept, "--seed", "7"]) != record["eval_result_metrics"])
    }

    @Test func `what cannot be measured is said`() throws {
        try fail(
            common + ["--examples", "1"],
            saying: "a probe of the activations has an F1 above 0.6, and SAEBench asks for 20", "--min-letters")
        try fail(common + ["--words", "20"], saying: "there are 20 words to spell", "at least 55", "raise --words")
        try fail(common + ["--examples", "12"], saying: "the model takes 128; lower --examples")
        try fail(common + ["--min-letters", "1"], status: 64, saying: "--min-letters is 1; it must be at least 2")
        try fail(common + ["--f1-jump", "nan"], status: 64, saying: "--f1-jump is nan")
        try fail(common + ["--activations", tiny.model], saying: "it holds a model (config.json)")
        try fail(common + ["--out", tiny.model + "/config.json"], saying: "a file of")
    }
}
