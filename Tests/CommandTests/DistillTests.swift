import Foundation
import TensorFiles
import TestSupport
import Testing

/// A distillation of seconds, whole and cut short in every way: the run folder is the state, and what is in it at the
/// end is the same to the byte.
@Suite(.serialized) struct DistillTests {
    private let tiny: TinyModel
    private var recipe: String { tiny.folder.file("tiny.yaml") }

    init() throws {
        tiny = try TinyModel()
        // 400 steps: long enough to be cut in the middle of a training.
        try tiny.writeRecipe(steps: 400, to: recipe)
    }

    private static let cycleFiles = [
        "done.json", "metrics.json", "core.json", "core.safetensors", "scores.safetensors", "sae/cfg.json",
        "sae/sae_weights.safetensors",
    ]
    private static let trialFiles = ["done.json", "metrics.json", "trial.json", "cfg.json", "sae_weights.safetensors"]
    private static let files =
        (0...2).flatMap { t in cycleFiles.map { "cycle-\(t)/\($0)" } }
        + ["dmsae", "baseline"].flatMap { name in
            trialFiles.map { "final/k-8/\(name)/\($0)" }
        }
        + ["final/core.json", "final/core.safetensors"]
        + ["result.json", "store/store.json"]

    private func expectSameFiles(_ a: String, _ b: String, sourceLocation: SourceLocation = #_sourceLocation) {
        for file in Self.files {
            let (left, right) = (tiny.folder.file("\(a)/\(file)"), tiny.folder.file("\(b)/\(file)"))
            guard isThere(left), isThere(right) else {
                Issue.record("\(file) is missing", sourceLocation: sourceLocation)
                continue
            }
            #expect(contents(of: left) == contents(of: right), "\(file)", sourceLocation: sourceLocation)
        }
    }

    private func distill(_ out: String, _ more: String...) -> [String] {
        ["distill", recipe, "--out", tiny.folder.file(out), "--quiet"] + more
    }

    private func remove(_ names: String...) throws {
        for name in names { try FileManager.default.removeItem(atPath: tiny.folder.file(name)) }
    }

    /// Starts a run, sends a signal once cycle 0 is done, and returns what the program left.
    private func cut(_ out: String, by signal: Int32) throws -> (status: Int32, errors: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = distill(out)
        process.environment = startingEnvironment
        process.standardOutput = FileHandle.nullDevice
        let errors = tiny.folder.file("errors")
        _ = FileManager.default.createFile(atPath: errors, contents: nil)
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errors))
        try process.run()
        while process.isRunning && !isThere(tiny.folder.file(out + "/cycle-0/done.json")) { usleep(2000) }
        // Some steps into cycle 1. The folder belongs to that program as long as it runs.
        usleep(50_000)
        if signal == SIGKILL {
            try fail(distill(out, "--resume"), saying: "is being written by another program (process")
        }
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: contents(of: errors), as: UTF8.self))
    }

    @Test func aRunIsTheSameBytesAgainAndHoweverItWasCutShort() throws {
        let table = try succeed(distill("whole"))
        let record = try JSONValue(contentsOf: tiny.folder.file("whole/result.json"))
        #expect(record["cycles"]?.array?.count == 3)
        #expect(table.contains("final core: \(record["coreSize"]?.integer ?? -1) latents"), "\(table)")
        #expect(table.contains("dmsae") && table.contains("baseline"), "\(table)")

        let json = try succeed(distill("again", "--json"))
        #expect(try JSONValue(parsing: json) == record)
        expectSameFiles("whole", "again")

        // What is not there is made again, what is there is read back.
        try remove("again/cycle-2", "again/final", "again/result.json")
        #expect(try succeed(distill("again", "--resume")) == table.replacing("whole", with: "again"))
        expectSameFiles("whole", "again")

        let interrupted = try cut("interrupted", by: SIGINT)
        #expect(interrupted.status == 130)
        #expect(!isThere(tiny.folder.file("interrupted/result.json")), "the signal came too late to test anything")
        #expect(
            interrupted.errors.hasSuffix(
                "continue with: dmsae distill \(recipe) --out \(tiny.folder.file("interrupted")) --resume\n"),
            "\(interrupted.errors)")
        let words = try run(builtProgram, Array(distill("interrupted", "--resume").filter { $0 != "--quiet" }))
        #expect(words.status == 0 && words.output == table.replacing("whole", with: "interrupted"))
        expectSameFiles("whole", "interrupted")

        let killed = try cut("killed", by: SIGKILL)
        #expect(killed.status == SIGKILL)
        #expect(!isThere(tiny.folder.file("killed/result.json")), "the signal came too late to test anything")
        try fail(distill("killed"), saying: "already holds a run; continue it with --resume, or choose another --out")
        #expect(try succeed(distill("killed", "--resume")) == table.replacing("whole", with: "killed"))
        expectSameFiles("whole", "killed")

        try checkRefusals()
    }

    /// What the finished run in "again" refuses.
    private func checkRefusals() throws {
        let folder = tiny.folder.file("again")
        try fail(distill("again"), saying: "\(folder) already holds a run; continue it with --resume")
        try fail(
            distill("again", "--resume", "--set", "train.k=9"),
            saying: "the run in \(folder) was started with train.k = 8, now it is 9", "its own recipe")
        try fail(distill("nothing", "--resume"), saying: "holds no run to resume; leave out --resume to start one")
        #expect(!isThere(tiny.folder.file("nothing")))

        // Another k for the final SAEs does not cost the cycles.
        try succeed(distill("again", "--resume", "--set", "final.k=[8, 12]"))
        #expect(isThere(folder + "/final/k-12/baseline/metrics.json"))
        expectSameFiles("whole", "again", except: "result.json")

        try checkThatNothingElseIsReadBack(folder)
        try checkOtherPlaces(folder)
    }

    /// A finished step with one thing changed is refused by name; put right, or deleted as the message says, the run goes on
    /// to the same bytes.
    private func checkThatNothingElseIsReadBack(_ folder: String) throws {
        func resume() -> [String] { distill("again", "--resume", "--set", "final.k=[8, 12]") }
        func expect(_ step: String, saying part: String) throws {
            try fail(
                // A core that fires everywhere is warned of before.
                resume(), afterResults: true, afterWarnings: true, saying: part,
                "\(folder)/\(step) cannot be read back: ", "Delete \(folder)/\(step) and resume: it is made again")
        }
        func with(_ file: String, _ bytes: [UInt8]?, in step: String, saying part: String) throws {
            let path = "\(folder)/\(file)"
            let whole = contents(of: path)
            if let bytes { try AtomicFile.write(bytes, to: path) } else { try remove("again/\(file)") }
            try expect(step, saying: part.replacing("FILE", with: path))
            try AtomicFile.write(whole, to: path)
        }
        func flipped(_ file: String) -> [UInt8] {
            var bytes = contents(of: "\(folder)/\(file)")
            bytes[bytes.count - 2] ^= 1
            return bytes
        }
        for (step, files) in [
            ("cycle-1", Self.cycleFiles.filter { $0 != "done.json" }),
            ("final/k-8/dmsae", Self.trialFiles.filter { $0 != "done.json" }),
        ] {
            for file in files {
                let file = "\(step)/\(file)"
                try with(file, flipped(file), in: step, saying: "FILE is not as the run wrote it")
                try with(file, nil, in: step, saying: "FILE is missing")
            }
        }
        // Another cycle's files, mark and all, are not this one's.
        let mark = contents(of: folder + "/cycle-2/done.json")
        try with("cycle-1/done.json", mark, in: "cycle-1", saying: "it was made after other files")
        let shard = "store/shard-00000.safetensors"
        try with(shard, flipped(shard), in: "store", saying: "FILE was changed after the harvest")
        try with(shard, Array(contents(of: "\(folder)/\(shard)").dropLast(1000)), in: "store", saying: "FILE")
        let store = String(decoding: contents(of: folder + "/store/store.json"), as: UTF8.self)
        for (key, value) in [("inputScale", "1.0"), ("layer", "0"), ("seed", "4")] {
            let edited = store.replacing(try Regex("\"\(key)\" : [0-9.]+"), with: "\"\(key)\" : \(value)")
            #expect(edited != store)
            try with(
                "store/store.json", Array(edited.utf8), in: "store", saying: "store.json is not as the harvest wrote it"
            )
        }
        // The log is no part of the results.
        try remove("again/cycle-1", "again/events.jsonl")
        try succeed(resume())
        expectSameFiles("whole", "again", except: "result.json")
    }

    /// What a run is made from is known by its bytes, wherever it is.
    private func checkOtherPlaces(_ folder: String) throws {
        let text = tiny.folder.file("renamed.jsonl"), model = tiny.folder.file("renamed")
        try FileManager.default.moveItem(atPath: tiny.text, toPath: text)
        try FileManager.default.moveItem(atPath: tiny.model, toPath: model)
        try remove("again/cycle-2")
        try succeed(
            distill("again", "--resume", "--set", "final.k=[8, 12]", "--set", "text=\(text)", "--set", "model=\(model)")
        )
        expectSameFiles("whole", "again", except: "result.json")
        try AtomicFile.write(contents(of: text) + Array(#"{"text": "more"}"#.utf8), to: text)
        try fail(
            distill("again", "--resume", "--set", "text=\(text)", "--set", "model=\(model)"),
            saying: "the run in \(folder) was started with SHA-256 of text = ")
    }

    private func expectSameFiles(_ a: String, _ b: String, except name: String) {
        for file in Self.files where file != name {
            #expect(
                contents(of: tiny.folder.file("\(a)/\(file)")) == contents(of: tiny.folder.file("\(b)/\(file)")),
                "\(file)")
        }
    }
}
