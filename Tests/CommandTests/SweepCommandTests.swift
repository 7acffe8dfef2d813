import Foundation
import TensorFiles
import TestSupport
import Testing

/// Sweeps over a tiny model, beside the same runs made one by one.
@Suite struct SweepCommandTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }
    private var recipe: String { folder.file("tiny.yaml") }

    init() throws {
        tiny = try TinyModel()
        try tiny.writeRecipe(steps: 20, to: recipe)
    }

    private func sweep(_ out: String, _ more: String...) -> [String] {
        ["sweep", recipe, "--over", "distill.tau=0.3,0.6", "--out", folder.file(out), "--quiet"] + more
    }

    /// Every file of a run and its bytes.
    private func files(_ path: String) throws -> [String: [UInt8]] {
        let names = try FileManager.default.subpathsOfDirectory(atPath: folder.file(path))
        var isFolder: ObjCBool = false
        return Dictionary(
            uniqueKeysWithValues: names.filter {
                FileManager.default.fileExists(atPath: folder.file(path + "/" + $0), isDirectory: &isFolder)
                    && !isFolder.boolValue && !$0.hasSuffix("report.html")
            }.map { ($0, contents(of: folder.file(path + "/" + $0))) })
    }

    private func inode(_ path: String) -> UInt {
        var status = stat()
        stat(folder.file(path), &status)
        return UInt(status.st_ino)
    }

    @Test func everyPointIsTheRunThatItWouldBeAloneAndWhatIsSharedLiesOnDiskOnce() throws {
        let printed = try succeed(sweep("out", "--seeds", "2"))
        #expect(printed == "\(folder.file("out"))/sweep.csv\n\(folder.file("out"))/report.html\n")
        for (index, settings) in [
            ["distill.tau=0.3", "seed=3"], ["distill.tau=0.3", "seed=4"], ["distill.tau=0.6", "seed=3"],
        ]
        .enumerated() {
            try succeed(
                ["distill", recipe, "--out", folder.file("alone-\(index)"), "--quiet"]
                    + settings.flatMap { ["--set", $0] })
            let (found, wanted) = (try files("out/point-000\(index)"), try files("alone-\(index)"))
            #expect(found.keys.sorted() == wanted.keys.sorted())
            for (name, bytes) in wanted { expectSame(found[name] ?? [], bytes, "\(index) \(name)") }
        }
        for name in ["store/store.json", "cycle-0/sae/sae_weights.safetensors"] {
            #expect(inode("out/point-0000/" + name) == inode("out/point-0002/" + name), "\(name)")
            #expect(inode("out/point-0000/" + name) != inode("out/point-0001/" + name), "\(name)")
        }
        let csv = String(decoding: contents(of: folder.file("out/sweep.csv")), as: UTF8.self).split(separator: "\n")
        #expect(csv[0].hasPrefix("point,distill.tau,seed,trial,k,explained_variance,"))
        #expect(csv.count == 1 + 4 * 2 && csv[1...].allSatisfy { $0.hasSuffix(",done") })
        let page = String(decoding: contents(of: folder.file("out/report.html")), as: UTF8.self)
        #expect(page.contains("4 of 4 points are done.") && page.contains("id=\"plot-0-CE_score-x\""))
        // Again: nothing is left to do, and nothing changes.
        let before = try files("out")
        try succeed(["sweep", folder.file("out"), "--quiet"])
        #expect(try files("out") == before)
        try succeed(["report", folder.file("out")])
        try fail(
            ["sweep", recipe, "--over", "distill.tau=0.3,0.7", "--out", folder.file("out")],
            saying:
                "the sweep in \(folder.file("out")) was started with --over = distill.tau=0.3,0.6 seed=3,4, now it is "
                + "distill.tau=0.3,0.7")
    }

    /// A recipe that says what it is over, then one that goes on from what the first has made.
    @Test func aRecipeIsSweptAsItSaysAndAnotherSweepTakesItsStepsOver() throws {
        let text = String(decoding: contents(of: recipe), as: UTF8.self)
        let grid = folder.file("grid.yaml")
        try AtomicFile.write(text + "\nsweep:\n  over: ['distill.tau=0.3,0.6']\n", to: grid)
        try fail(["distill", grid, "--out", folder.file("run")], status: 64, saying: "use dmsae sweep \(grid)")
        try succeed(["sweep", grid, "--out", folder.file("first"), "--quiet"])
        let second = ["sweep", recipe, "--over", "final.k=[8],[16]", "--set", "distill.tau=0.6", "--out"]
        let printed = try succeed(second + [folder.file("second"), "--from", folder.file("first"), "--dry-run"])
        #expect(printed.contains("shared: 0 of 2 harvests are made, 4 of 10 trainings"))
        try succeed(second + [folder.file("second"), "--from", folder.file("first"), "--quiet"])
        try succeed(second + [folder.file("alone"), "--quiet"])
        for name in ["store/store.json", "cycle-2/sae/sae_weights.safetensors"] {
            #expect(inode("second/point-0000/" + name) == inode("first/point-0001/" + name), "\(name)")
        }
        let (found, wanted) = (try files("second"), try files("alone"))
        #expect(found.keys.sorted() == wanted.keys.sorted())
        for (name, bytes) in wanted where name != "sweep.json" { expectSame(found[name] ?? [], bytes, name) }
        try fail(
            second + [folder.file("third"), "--from", folder.path],
            saying: "\(folder.path) holds no sweep (sweep.json)")
    }

    @Test(arguments: ["core-modes", "tau", "k", "finals", "candidates", "core-rate", "cycle-length"])
    func anExperimentThatComesAlongIsAGrid(_ name: String) throws {
        try fail(["distill", name], status: 64, saying: "use dmsae sweep \(name)")
        try fail(["sweep", name], status: 64, saying: "give the folder of the sweep: --out FOLDER")
        let text = try succeed(["sweep", name, "--print-recipe"])
        try AtomicFile.write(text, to: folder.file("printed.yaml"))
        #expect(try succeed(["sweep", folder.file("printed.yaml"), "--print-recipe"]) == text)
        let printed = try succeed([
            "sweep", name, "--dry-run", "--set", "model=\(tiny.model)", "--set", "text=\(tiny.text)", "--set",
            "layer=1",
            "--set", "harvest.tokens=65536", "--set", "context=16",
        ])
        #expect(printed.contains("shared: 1 of ") && printed.contains("seed=1,2,3"), "\(printed)")
    }

    @Test func cyclesAreSharedByPointsThatDifferInTheirEndAlone() throws {
        try succeed([
            "sweep", recipe, "--over", "final.k=[8],[16]", "--out", folder.file("out"), "--quiet", "--jobs", "2",
        ])
        let name = "cycle-2/sae/sae_weights.safetensors"
        #expect(inode("out/point-0000/" + name) == inode("out/point-0001/" + name))
        let lanes = try JSONValue(
            parsing: String(decoding: contents(of: folder.file("out/sweep.json")), as: UTF8.self))["lanes"]
        var environment = startingEnvironment
        environment["DMSAE_LANES"] = lanes.map { "\(Int($0.double ?? 0))" }
        let alone = try run(
            builtProgram, ["distill", recipe, "--set", "final.k=[16]", "--out", folder.file("alone"), "--quiet"],
            environment: environment)
        #expect(alone.status == 0, "\(alone.errors)")
        #expect(try files("out/point-0001") == files("alone"))
    }

    @Test func aPointThatFailsIsRecordedAndTheOthersGoOn() throws {
        let result = try run(
            builtProgram, ["sweep", recipe, "--over", "train.k=8,9999", "--out", folder.file("out"), "--quiet"])
        #expect(result.status == 1)
        #expect(
            result.errors.contains(
                "Error: 1 of 2 points failed; the first says: recipe key train.k is \"9999\"; it must be"),
            "\(result.errors)")
        #expect(isThere(folder.file("out/point-0000/result.json")))
        let csv = String(decoding: contents(of: folder.file("out/sweep.csv")), as: UTF8.self)
        #expect(csv.contains("1,9999,,,") && csv.contains("failed: recipe key train.k is"))
        let page = String(decoding: contents(of: folder.file("out/report.html")), as: UTF8.self)
        #expect(page.contains("1 of 2 points are done, 1 failed.") && page.contains("Points without a result"))
    }

    @Test func aSweepThatIsKilledGoesOnToTheSameResults() throws {
        try succeed(sweep("whole"))
        let whole = try files("whole")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = sweep("cut")
        process.environment = startingEnvironment
        (process.standardError, process.standardOutput) = (FileHandle.nullDevice, FileHandle.nullDevice)
        try process.run()
        while !isThere(folder.file("cut/point-0000/cycle-1")) && process.isRunning { usleep(2000) }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        try succeed(["sweep", folder.file("cut"), "--quiet"])
        let found = try files("cut")
        for (name, bytes) in whole where !name.hasSuffix(".log") && !name.hasSuffix(".jsonl") {
            expectSame(found[name] ?? [], bytes, name)
        }
    }

    /// They would hold processors and folders, and nobody would know of them.
    @Test func theProcessesOfASweepThatIsKilledEndToo() throws {
        try tiny.writeRecipe(steps: 200_000, to: recipe)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = sweep("cut")
        process.environment = startingEnvironment
        (process.standardError, process.standardOutput) = (FileHandle.nullDevice, FileHandle.nullDevice)
        try process.run()
        while !isThere(folder.file("cut/point-0000/cycle-0")) && process.isRunning { usleep(2000) }
        let children = "/proc/\(process.processIdentifier)/task/\(process.processIdentifier)/children"
        let list = try FileHandle(forReadingAtPath: children)?.readToEnd() ?? Data()
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        let child = try #require(pid_t(String(decoding: list, as: UTF8.self).split(separator: " ").first ?? ""))
        // The training would take minutes.
        for _ in 0..<1000 where kill(child, 0) == 0 { usleep(20_000) }
        #expect(kill(child, 0) != 0)
        kill(child, SIGKILL)
    }

    /// Points that it stopped, or never began, are not done; a bar is summed up from two seconds on.
    @Test func aSweepThatIsInterruptedSaysHowManyPointsAreDone() throws {
        try tiny.writeRecipe(steps: 200_000, to: recipe)
        let (process, said) = (Process(), Pipe())
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = sweep("cut").filter { $0 != "--quiet" }
        process.environment = startingEnvironment
        (process.standardError, process.standardOutput) = (said, FileHandle.nullDevice)
        try process.run()
        while !isThere(folder.file("cut/point-0000/cycle-0")) && process.isRunning { usleep(2000) }
        usleep(2_500_000)
        kill(process.processIdentifier, SIGINT)
        let text = String(decoding: try said.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 130)
        #expect(text.contains(" s, 0 of 2 points done\n"), "\(text)")
        #expect(text.hasSuffix("continue with: dmsae sweep \(folder.file("cut"))\n"), "\(text)")
    }

    @Test func whatASweepTakesIsSaidWithoutRunningIt() throws {
        let said = try succeed(sweep("out", "--seeds", "3", "--dry-run"))
        #expect(said.contains("6 points: distill.tau=0.3,0.6 seed=3,4,5\n"))
        #expect(said.contains("shared: 3 of 6 harvests are made, 27 of 30 trainings\n"), "\(said)")
        // Three harvests of 4000 tokens; three times 512 are scored for each point.
        for words in [
            "\nmodel, 3 harvests: 12000 tokens, ", "\n27 trainings, with their evaluation: 540 steps, ",
            "\nscoring: 9216 tokens, ", "\ndisk: SAEs ", "\nmemory: training 128 latents ", "\ntime: about ",
        ] { #expect(said.contains(words), "\(said)") }
        #expect(try succeed(sweep("out", "--dry-run", "--jobs", "2")).contains("\n2 points at once, each on its part"))
        #expect(!isThere(folder.file("out")))
    }

    /// Nobody looks at the bar of a sweep that is quiet, and so nothing is timed for it.
    @Test func theBarCountsSecondsOfPartsThatWereTimedFirst() throws {
        try succeed(sweep("quiet", "--quiet"))
        #expect(!isThere(folder.file("quiet/forecast.json")))
        // One that was cut, of a sweep that was begun.
        try succeed(sweep("out", "--slurm"))
        try AtomicFile.write(#"{"seconds": [{}]}"#, to: folder.file("out/forecast.json"))
        try succeed(["sweep", folder.file("out")])
        let record = try JSONValue(
            parsing: String(decoding: contents(of: folder.file("out/forecast.json")), as: UTF8.self))
        let seconds = try #require(record["seconds"]?.array)
        // A harvest, three cycles and two trials; the second point is given harvest and the training of cycle 0.
        let cycles = ["cycle-0, scores", "cycle-1", "cycle-1, scores", "cycle-2", "cycle-2, scores"]
        let both = cycles + ["final/k-8/baseline", "final/k-8/dmsae"]
        for (point, names) in zip(seconds, [both + ["store", "cycle-0"], both]) {
            let found = try #require(point.object)
            #expect(found.map(\.key).sorted() == names.sorted())
            #expect(found.allSatisfy { ($0.value.double ?? 0) > 0 && ($0.value.double ?? 0) < 60 })
        }
        #expect(try files("out/point-0001") == files("quiet/point-0001"))
        #expect(!isThere(folder.file("out/forecast.log")))
    }

    @Test func aScriptForABatchSystemRunsEachPointAsAJobOfAnArray() throws {
        let script = try succeed(sweep("out", "--slurm"))
        #expect(script.hasPrefix("#!/bin/bash\n") && script.contains("#SBATCH --array=0-1\n"))
        #expect(script.contains("dmsae sweep \(folder.file("out")) --point \"$SLURM_ARRAY_TASK_ID\""))
        for index in ["0", "1"] {
            try succeed(["sweep", folder.file("out"), "--point", index, "--quiet"])
            #expect(isThere(folder.file("out/point-000\(index)/result.json")))
        }
        try fail(
            ["sweep", folder.file("out"), "--point", "2"],
            saying: "there is no point 2; the sweep has 2, counted from 0")
        try succeed(["sweep", folder.file("out"), "--quiet"])
        #expect(isThere(folder.file("out/sweep.csv")))
    }

    @Test func whatIsMissingIsAskedFor() throws {
        try fail(["sweep", recipe, "--out", folder.file("out")], status: 64, saying: "give the keys to sweep over")
        try fail(["sweep", recipe, "--seeds", "2"], status: 64, saying: "give the folder of the sweep: --out FOLDER")
        try fail(["sweep", folder.path, "--point", "0"], saying: "holds no sweep (sweep.json)")
    }
}
