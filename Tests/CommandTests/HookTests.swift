import LanguageModeling
import LinearAlgebra
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Other places in the model than the residual stream after a block: what is stored, trained, scored and evaluated there.
@Suite struct HookTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }
    private static let hook = "blocks.1.hook_mlp_out"

    init() throws {
        tiny = try TinyModel()
        try write(ids: (0..<64).map { $0 * 4 }, shape: [2, 32], to: tiny.folder.file("ids"))
    }

    private func harvest(_ out: String, _ more: String...) -> [String] {
        ["harvest", "--model", tiny.model, "--text", tiny.text, "--context", "32", "--tokens", "2048", "--quiet"]
            + ["--out", folder.file(out)] + more
    }

    private func hash(ofShardIn store: String) throws -> String? {
        try JSONValue(contentsOf: folder.file(store) + "/store.json")["shardHashes"]?.array?.first?.string
    }

    @Test func `a store's hook goes with the SAE that is trained on it, to all that is done with it`() throws {
        try succeed(harvest("store", "--hook", Self.hook))
        let record = try JSONValue(contentsOf: folder.file("store/store.json"))
        #expect(record["layer"]?.integer == 1 && record["hook"]?.string == "hook_mlp_out")
        try succeed(
            ["train", "--activations", folder.file("store"), "--width", "128", "--k", "8", "--batch", "64", "--steps"]
                + ["30", "--lr", "3e-3", "--quiet", "--out", folder.file("sae")])
        let configuration = try JSONValue(contentsOf: folder.file("sae/cfg.json"))
        #expect(configuration["metadata"]?["hook_name"]?.string == Self.hook)
        let model = ["--model", tiny.model, "--sae", folder.file("sae"), "--quiet"]
        let read = model + ["--text", tiny.text, "--context", "32", "--tokens", "512", "--json"]
        func explained(_ more: String...) throws -> Double? {
            try JSONValue(parsing: try succeed(["eval"] + read + more))["explained_variance"]?.double
        }
        let own = try explained()
        #expect(try own == explained("--hook", Self.hook) && own ?? 0 > 0.3)
        #expect(try explained("--hook", "blocks.1.hook_attn_out") ?? 1 < 0.3)
        try succeed(["score"] + model + ["--tokens", folder.file("ids"), "--out", folder.file("scores")])
        let scores = try SafetensorsFile(path: folder.file("scores"))
        #expect(scores.metadata["layer"] == "1" && scores.metadata["hook"] == "hook_mlp_out")
        try succeed(
            ["compare"] + model + ["--tokens", folder.file("ids"), "--scorer", "gxa", "--scorer", "random"]
                + ["--draws", "20", "--out", folder.file("comparison")])
        #expect(
            String(decoding: contents(of: folder.file("comparison/report.html")), as: UTF8.self).contains(Self.hook))
        // A core selected by these scores knows its place.
        try succeed([
            "select", "--scores", folder.file("scores"), "--tau", "0.3", "--sae", folder.file("sae"), "--out",
            folder.file("core"), "--quiet",
        ])
        try succeed(harvest("other", "--layer", "1"))
        let result = try run(
            builtProgram,
            ["train", "--activations", folder.file("other"), "--core", folder.file("core/core.json"), "--width", "128"]
                + ["--k", "30", "--batch", "64", "--steps", "2", "--quiet", "--out", folder.file("next")])
        #expect(
            result.errors.contains("core.json is of blocks.1.hook_mlp_out, and the activations are of layer 1\n"),
            "\(result.errors)")
    }

    @Test func `a store of the stream after a block is the same by either name, and says what it always said`() throws {
        try succeed(harvest("layer", "--layer", "1"))
        try succeed(harvest("post", "--hook", "blocks.1.hook_resid_post"))
        #expect(contents(of: folder.file("layer/store.json")) == contents(of: folder.file("post/store.json")))
        #expect(try JSONValue(contentsOf: folder.file("post/store.json"))["hook"] == nil)
        try succeed(harvest("pre", "--hook", "blocks.2.hook_resid_pre"))
        #expect(try hash(ofShardIn: "pre") == hash(ofShardIn: "layer"))
    }

    @Test func `what is read where no SAE names a place has to be named, once`() throws {
        let trace = [
            "lm", "trace", "--model", tiny.model, "--tokens", folder.file("ids"), "--out", folder.file("trace"),
        ]
        for command in [harvest("store"), trace] {
            try fail(command, status: 64, saying: "give --layer or --hook")
            try fail(
                command + ["--layer", "2", "--hook", "blocks.1.hook_resid_post"], status: 64,
                saying:
                    "--layer 2 is blocks.2.hook_resid_post, and --hook is blocks.1.hook_resid_post; give one of them")
            try fail(command + ["--hook", "blocks.1.hook_resid_mid"], status: 64, saying: "supported are blocks.L.")
            try fail(
                command + ["--hook", "blocks.3.hook_mlp_out"],
                saying: "layer 3 does not exist: the model has 3 layers; choose 0 to 2")
        }
        #expect(!exists(folder.file("store/store.json")) && !exists(folder.file("trace")))
    }

    /// Tolerances as everywhere: 2e-5 of the largest forward, 1e-4 for gradients.
    @Test(arguments: ["attn_out", "mlp_out"]) func `a trace at a hook is what transformers' hook sees`(
        _ name: String
    ) throws {
        let golden = try Golden("models/llama/hooks.safetensors")
        let ids = try Golden("models/llama/io.safetensors").file.integers("input_ids")
        try write(ids: ids, shape: [2, 16], to: folder.file("ids"))
        try write("activations", try golden.matrix("\(name).splice.x"), shape: [2, 16, 48], to: folder.file("x"))
        let words =
            ["lm", "trace", "--model", tiny.model, "--hook", "blocks.1.hook_\(name)", "--tokens", folder.file("ids")]
            + ["--out", folder.file("trace"), "--quiet"]
        try succeed(words)
        var trace = try SafetensorsFile(path: folder.file("trace"))
        #expect(trace.metadata["layer"] == "1" && trace.metadata["hook"] == "hook_\(name)")
        try golden.check(name, try trace.matrix("activations").values, tolerance: 2e-5)
        try golden.check("\(name).grad", try trace.matrix("gradient").values, tolerance: 1e-4)
        try succeed(words + ["--replace", folder.file("x")])
        trace = try SafetensorsFile(path: folder.file("trace"))
        try golden.check("\(name).splice.losses", try trace.matrix("loss").values, tolerance: 2e-5)
        try golden.check("\(name).splice.grad", try trace.matrix("gradient").values, tolerance: 1e-4)
    }

    @Test func `a recipe's hook is where the run harvests, scores and evaluates`() throws {
        let recipe = folder.file("recipe.yaml")
        try tiny.writeRecipe(to: recipe)
        let words = ["distill", recipe, "--set", "hook=\(Self.hook)", "--set", "distill.cycles=1", "--quiet"]
        try succeed(words + ["--out", folder.file("run")])
        #expect(try JSONValue(contentsOf: folder.file("run/run.json"))["recipe"]?["hook"]?.string == Self.hook)
        #expect(
            try JSONValue(contentsOf: folder.file("run/store/store.json"))["hook"]?.string == "hook_mlp_out")
        for sae in ["cycle-0/sae", "cycle-1/sae", "final/k-8/dmsae"] {
            #expect(
                try SAEFolder.read(folder.file("run/\(sae)")).provenance.hookPoint == HookPoint(block: 1, .mlpOut))
        }
        let core = try JSONValue(contentsOf: folder.file("run/cycle-0/core.json"))
        #expect(core["origin"]?["hook"]?.string == "hook_mlp_out" && core["origin"]?["layer"]?.string == "1")
        try succeed(["report", folder.file("run"), "--out", folder.file("page.html")])
        #expect(String(decoding: contents(of: folder.file("page.html")), as: UTF8.self).contains(Self.hook))
        try fail(
            ["distill", recipe, "--out", folder.file("run"), "--resume", "--set", "distill.cycles=1"],
            saying: "hook")
        try fail(
            ["distill", recipe, "--set", "hook=blocks.2.hook_mlp_out", "--out", folder.file("not")],
            saying: "recipe key hook is \"blocks.2.hook_mlp_out\"; it must be of the block that layer names, 1")
    }
}
