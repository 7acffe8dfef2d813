import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// `eval probes` on a small model and tasks of drawn words. Against sae-probes' own code and scikit-learn it is held in
/// Tests/Peers/probes.py.
@Suite struct EvalProbesTests {
    private let tiny: TinyModel
    private let common: [String]
    private var out: String { tiny.folder.file("out") }

    init() throws {
        tiny = try TinyModel()
        let golden = try Golden("gxa/gxa.safetensors")
        let sae = tiny.folder.file("sae")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: sae)
        common = [
            "eval", "probes", "--model", tiny.model, "--sae", sae, "--package", fixture("probing/tasks.whl"),
            "--controls",
            "2",
        ]
    }

    private func probe(_ more: [String] = []) throws -> ProgramResult {
        try run(
            builtProgram, common + ["--out", out, "--tasks", "1_colour", "--tasks", "2_long words"] + more)
    }

    private func area(_ baseline: String) throws -> Double {
        try JSONValue(contentsOf: baseline).array?.first?["test_auc"]?.double ?? .nan
    }

    @Test func `results lie where sae-probes puts its own, and other SAEs use the activations again`() throws {
        let first = try probe(["--json"])
        #expect(first.status == 0, "\(first.errors)")
        let summary = try JSONValue(parsing: first.output)
        #expect(try JSONValue(contentsOf: out + "/probes.json") == summary)
        let settings = try #require(summary["settings"]?.object)
        for key in [
            "model.sha256", "tasks.sha256", "SAE sae_weights.safetensors.sha256", "ks", "ranking", "bos", "layer",
        ] {
            #expect(settings[key]?.string != nil, "\(key)")
        }
        let dense = try #require(summary["means"]?.array?.first)
        // The last word tells four rows in five.
        #expect(dense["set"]?.string == "dense" && (dense["test_auc"]?["value"]?.double ?? 0) > 0.7)
        #expect(summary["differences"]?.array?.first?["set"]?.string == "first group")

        let model = "tiny", hook = "blocks.1.hook_resid_post"
        let file = "\(out)/sae_probes_\(model)/normal_setting/2_long words_\(hook)_l2.json"
        let sparse = try #require(try JSONValue(contentsOf: file).array)
        #expect(sparse.map { $0["k"]?.integer } == [1, 2, 5, 16, 128])
        #expect(sparse[1]["indices"]?.array?.count == 2 && sparse[0]["dataset"]?.string == "2_long words")
        #expect(
            sparse.allSatisfy {
                Set($0.object?.keys.map { $0 } ?? []) == [
                    "test_f1", "test_acc", "test_auc", "val_auc", "k", "dataset", "hook_name", "reg_type", "binarize",
                    "indices",
                ]
            })
        let baseline = "\(out)/baseline_results_\(model)/normal_setting/1_colour_\(hook)_logreg.json"
        let alone = try #require(try JSONValue(contentsOf: baseline).array)
        #expect(alone.count == 1 && alone[0]["method"]?.string == "logreg" && alone[0]["num_train"]?.integer == 200)

        let learnt = try area(baseline)
        // Kept activations that say nothing make probes that say nothing.
        let kept = out + "/activations/1_colour.safetensors"
        var writer = SafetensorsWriter(metadata: try SafetensorsFile(path: kept).metadata)
        writer.add("x", Matrix(rows: 300, columns: 48))
        try writer.write(to: kept)
        let again = try probe()
        #expect(again.status == 0, "\(again.errors)")
        #expect(try area(baseline) == 0.5)
        #expect(again.output.contains("area under the ROC curve, means over 2 tasks"), "\(again.output)")
        let lines = again.output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(lines.contains { $0.starts(with: ["all", "16"]) && $0.count == 3 }, "two tasks give no interval")
        #expect(lines.contains { $0.starts(with: ["first", "group,", "all"]) && $0.suffix(2) == ["of", "2"] })
        // Prompts begun otherwise are other activations.
        #expect(try probe(["--bos", "no"]).status == 0)
        #expect(try area(baseline) == learnt)
    }

    @Test func `what cannot be probed is refused before anything is made`() throws {
        let place = ["--out", out]
        try fail(
            common + place + ["--tasks", "1_color"], saying: "there is no task \"1_color\"; did you mean \"1_colour\"?")
        try fail(common + place, saying: "4_three.csv.zst has 3 classes, not two")
        try fail(
            common + place + ["--tasks", "5_few"], afterWarnings: true,
            saying: "task 5_few has", "probes need at least 114 of each")
        try fail(common + place + ["--ks", "0"], status: 64, saying: "--ks is 0; it must be at least 1")
        try fail(common + place + ["--ks", "2,2"], status: 64, saying: "--ks names a number twice")
        try fail(common + ["--out", tiny.model], saying: "it holds a model (config.json)")
        let none = try run(
            builtProgram, Array(common.prefix(6)) + place, environment: ["DMSAE_CACHE": tiny.folder.file("cache")])
        #expect(none.status == 1 && none.errors.contains("run: dmsae fetch probes"), "\(none.errors)")
    }
}
