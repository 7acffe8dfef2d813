import Foundation
import TensorFiles
import TestSupport
import Testing

/// Scorers and comparisons on a card, which is emulated, are those of the processors: all that a scorer can ask a host for.
@Suite struct DeviceScoringTests {
    private let folder = TemporaryFolder()

    init() throws {
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("sae"))
        try write(ids: try golden.file.integers("input_ids"), shape: [4, 24], to: folder.file("ids"))
    }

    private var input: [String] {
        ["--model", fixture("models/llama"), "--sae", folder.file("sae"), "--tokens", folder.file("ids")]
            + ["--layer", "1", "--prefix", "32", "--quiet"]
    }

    private func dmsae(_ arguments: [String], onCard: Bool) throws -> String {
        var environment = startingEnvironment.filter { !$0.key.hasPrefix("DMSAE_") }
        environment["DMSAE_CUDA_PATH"] = builtProgram.dropLast("dmsae".count) + "libdmsae-cuda-emulation.so"
        if onCard { environment["DMSAE_DEVICE"] = "cuda" }
        let result = try run(
            builtProgram, arguments + (onCard ? ["--precision", "fp32"] : []), environment: environment)
        #expect(result.status == 0 && !result.errors.contains("Error"), "\(arguments): \(result.errors)")
        return result.output
    }

    private func scores(_ scorer: String, onCard: Bool) throws -> SafetensorsFile {
        let out = folder.file("scores")
        _ = try dmsae(["score"] + input + ["--scorer", scorer, "--out", out], onCard: onCard)
        return try SafetensorsFile(path: out)
    }

    /// Sums of entries' scores, which are products with gradients: those agree to 1e-4 of their largest entry.
    @Test(arguments: ["gxa", "relp", "relp,pattern=detached", "logit", "ig,steps=2"])
    func aScorerOnACardHasTheScoresOfTheProcessors(_ scorer: String) throws {
        let (card, lanes) = (try scores(scorer, onCard: true), try scores(scorer, onCard: false))
        checkClose(try card.matrix("scores").values, try lanes.doubles("scores"), tolerance: 1e-4, scorer)
        #expect(try card.integers("core") == lanes.integers("core"), "\(scorer)")
        #expect(card.metadata["device"] == "emulated GPU" && lanes.metadata["device"] == nil)
    }

    /// By a plugin in a worker: gradients as above; changes are differences of sums of 24 values, each to 1e-6 of values of up to 10,
    /// with weights of up to 24.
    @Test func everyMetricThatAPluginAsksForIsThatOfTheProcessors() throws {
        let plugin = folder.file("measuring.so")
        let compiled = try run(
            "/usr/bin/env",
            [
                "cc", "-shared", "-fPIC", "-fvisibility=hidden", "-I", fixture("../../Include"),
                fixture("../PluginTestSupport/Fixtures/measuring.c"), "-o", plugin, "-lm",
            ])
        #expect(compiled.status == 0, "\(compiled.errors)")
        for what in [
            "relp-pattern", "attention-only", "divergence", "difference-path", "direction", "weighted-path", "logit",
            "divergence-change", "difference-change", "direction-change", "weighted-change",
        ] {
            let (card, lanes) = (
                try scores(plugin + ",what=\(what)", onCard: true).matrix("scores").values,
                try scores(plugin + ",what=\(what)", onCard: false).doubles("scores")
            )
            checkClose(card, lanes, tolerance: what.hasSuffix("change") ? 1e-3 : 1e-4, what)
        }
    }

    @Test func aComparisonOnACardIsThatOfTheProcessors() throws {
        let scorers = ["gxa", "relp", "logit", "ablation"]
        func compare(_ name: String, onCard: Bool) throws -> (record: JSONValue, scores: SafetensorsFile) {
            let out = folder.file(name)
            _ = try dmsae(
                ["compare"] + input + scorers.flatMap { ["--scorer", $0] }
                    + ["--tau", "0.5", "--draws", "20", "--out", out], onCard: onCard)
            return (
                try JSONValue(contentsOf: out + "/comparison.json"),
                try SafetensorsFile(path: out + "/comparison.safetensors")
            )
        }
        let (card, lanes) = (try compare("card", onCard: true), try compare("lanes", onCard: false))
        for scorer in scorers {
            checkClose(
                try card.scores.matrix("scores." + scorer).values, try lanes.scores.doubles("scores." + scorer),
                tolerance: 1e-3, scorer)
        }
        func cores(_ record: JSONValue) -> [JSONValue?] { (record["methods"]?.array ?? []).map { $0["core"] } }
        #expect(cores(card.record) == cores(lanes.record) && cores(card.record).count >= scorers.count)
    }

    /// What `eval core` calls KL is a divergence; to 1e-4 of the model without the layer.
    @Test func theDivergencesOfAnEvaluationAreThoseOfTheProcessors() throws {
        let tiny = try TinyModel()
        func measures(onCard: Bool) throws -> JSONValue {
            let text = try dmsae(
                ["eval", "core", "--model", tiny.model, "--sae", folder.file("sae"), "--text", tiny.text]
                    + ["--tokens", "256", "--context", "32", "--json", "--quiet"], onCard: onCard)
            return try #require(
                JSONValue(parsing: text)["eval_result_metrics"]?["model_behavior_preservation"])
        }
        let (card, lanes) = (try measures(onCard: true), try measures(onCard: false))
        let scale = try #require(lanes["kl_div_with_ablation"]?.double)
        for key in ["kl_div_with_ablation", "kl_div_with_sae"] {
            let (a, b) = (try #require(card[key]?.double), try #require(lanes[key]?.double))
            #expect(scale > 0 && b > 0 && abs(a - b) <= 1e-4 * scale, "\(key): \(a) and \(b)")
        }
    }
}
