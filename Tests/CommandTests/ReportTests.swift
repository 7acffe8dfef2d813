import Distillation
import TensorFiles
import TestSupport
import Testing

/// `dmsae report` on folders that are none of a run or a comparison, and on what is asked of the wrong one.
@Suite struct ReportTests {
    @Test func aFolderOfSomethingElseIsRefused() throws {
        let folder = TemporaryFolder()
        try fail(["report", folder.path], saying: folder.path, "it holds neither run.json", "nor comparison.json")
        try fail(
            ["report", folder.file("nope")], saying: "cannot read \(folder.file("nope")): there is no such folder")
        #expect(folder.names.isEmpty)
    }

    @Test func aComparisonTakesNoControl() throws {
        let folder = TemporaryFolder()
        try AtomicFile.write("{}", to: folder.file("comparison.json"))
        try fail(
            ["report", folder.path, "--control", folder.path], status: 64,
            saying: "--control is for the report of a distillation")
        try fail(["report", folder.path], saying: "comparison.json")
        #expect(folder.names == ["comparison.json"])
    }

    @Test func severalRunsNeedAPlaceForTheirPage() throws {
        let folder = TemporaryFolder()
        let (a, b) = (folder.file("a"), folder.file("b"))
        try createFolder(a)
        try fail(["report", a, b], status: 64, saying: "say where with --out FILE")
        try fail(["report", a, a, "--out", folder.file("page.html")], status: 64, saying: "is there twice")
        try fail(
            ["report", a, b, "--out", folder.file("page.html"), "--control", a], status: 64, saying: "one distillation")
        try fail(
            ["report", a, b, "--out", folder.file("page.html")], saying: "cannot read \(b): there is no such folder")
        try createFolder(b)
        try fail(["report", a, b, "--out", folder.file("page.html")], saying: "it holds no run.json of a distillation")
        try fail(["report", a, "--pool"], status: 64, saying: "give two runs or more")
        try createFolder(a + "/sub")
        try AtomicFile.write("{}", to: a + "/comparison.json")
        try fail(["report", a, "--eval", b], status: 64, saying: "--eval is for the report of a distillation")
        #expect(Set(folder.names) == ["a", "b"])
    }

    /// What `eval` writes is read again: of a run's SAE it is shown, of another refused.
    @Test func evaluationsOfARunAreOnItsPage() throws {
        let tiny = try TinyModel(), folder = TemporaryFolder()
        try tiny.writeRecipe(to: folder.file("tiny.yaml"))
        try succeed(["distill", folder.file("tiny.yaml"), "--out", folder.file("run"), "--quiet"])
        let trial = try #require(try FinishedSteps(folder: folder.file("run")).seeds.first?.trials.first?.trial.folder)
        let sae = folder.file("run") + "/" + trial, place = folder.file("run/evaluations")
        try createFolder(place)
        func meta(_ sae: String, to name: String) throws {
            let settings = ["--steps", "20", "--batch", "64", "--quiet"]
            try succeed(["eval", "meta", "--sae", sae, "--out", place + "/" + name] + settings)
        }
        try fail(
            ["report", folder.file("run"), "--markdown"], status: 64, saying: "nothing was evaluated", "evaluations")
        try meta(sae, to: "meta.json")
        try succeed([
            "eval", "core", "--model", tiny.model, "--sae", sae, "--text", tiny.text, "--context", "32", "--tokens",
            "512",
            "--draws", "20", "--out", place + "/core.json", "--quiet",
        ])
        let markdown = try succeed(["report", folder.file("run"), "--markdown"])
        #expect(
            markdown.contains("### Core metrics\n") && markdown.contains("### Structure of decoder rows"), "\(markdown)"
        )
        let record = try JSONValue(contentsOf: place + "/core.json")
        let score = try #require(
            record["eval_result_metrics"]?["model_performance_preservation"]?["ce_loss_score"]?.double)
        #expect(markdown.contains("| \(short(score, 3)) ["), "\(markdown)")
        #expect(!exists(folder.file("run/report.html")))
        try succeed(["report", folder.file("run")])
        #expect(
            String(decoding: contents(of: folder.file("run/report.html")), as: UTF8.self).contains("id=\"evaluations\"")
        )
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("other"))
        try meta(folder.file("other"), to: "foreign.json")
        try fail(["report", folder.file("run")], saying: "foreign.json", "is none of \(folder.file("run"))")
    }

    @Test func aControlNeedsTheLogOfATraining() throws {
        let folder = TemporaryFolder()
        let run =
            #"{"blasCore":"","hashes":{},"kernelLevel":3,"lanes":1,"model":"m","recipe":{},"rule":"r","scorer":"s","seeds":[],"version":"0"}"#
        try AtomicFile.write(run, to: folder.file("run.json"))
        try fail(
            ["report", folder.path, "--control", folder.path], saying: "events.jsonl",
            "a control needs the log that `dmsae train` writes")
        try succeed(["report", folder.path])
        #expect(folder.names == ["report.html", "run.json"])
    }
}
