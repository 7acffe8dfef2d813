import TensorFiles
import TestSupport
import Testing

/// `dmsae report` on folders that are none of a run or a comparison, and on what is asked of the wrong one.
@Suite struct ReportTests {
    @Test func aFolderOfSomethingElseIsRefused() throws {
        let folder = TemporaryFolder()
        try fail(["report", folder.path], saying: folder.path, "it holds neither run.json", "nor comparison.json")
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
