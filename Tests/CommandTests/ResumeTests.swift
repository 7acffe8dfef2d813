import Distillation
import Foundation
import TensorFiles
import TestSupport
import Testing

/// Trainings that are cut short in every way go on to the same bits.
@Suite struct ResumeTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }
    /// Kills of each distillation; TEST_KILLS asks for more of them, by hand.
    private let kills = startingEnvironment["TEST_KILLS"].flatMap { Int($0) } ?? 4

    init() throws {
        tiny = try TinyModel()
        try write("x", randomMatrix(640, 48, seed: 7), to: tiny.folder.file("x"))
    }

    private func train(_ out: String, steps: Int = 4000, _ more: String...) -> [String] {
        [
            "train", "--activations", folder.file("x"), "--width", "128", "--k", "8", "--batch", "64", "--steps",
            "\(steps)", "--out", folder.file(out), "--quiet",
        ] + more
    }

    /// Runs a program for so long, and ends it by a signal if it has not ended.
    ///
    /// - Returns: whether it was ended.
    private func cut(_ arguments: [String], after seconds: Double, by signal: Int32) throws -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = arguments
        process.environment = startingEnvironment
        let errors = folder.file("errors")
        _ = FileManager.default.createFile(atPath: errors, contents: nil)
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errors))
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        usleep(UInt32(seconds * 1e6))
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
        let isCut = process.terminationReason == .uncaughtSignal || process.terminationStatus == 128 + signal
        #expect(
            isCut || process.terminationStatus == 0,
            "\(arguments): \(String(decoding: contents(of: errors), as: UTF8.self))")
        return isCut
    }

    private static let files = ["cfg.json", "sae_weights.safetensors", "events.jsonl"]

    @Test func aTrainingThatWasStoppedIsGoneOnWithOnlyIfThatIsAskedFor() throws {
        try succeed(train("whole"))
        try fail(train("cut", "--resume"), saying: "\(folder.file("cut")) holds no run to resume")
        var seconds = 0.1
        while try !cut(train("cut"), after: seconds, by: SIGTERM) || !isThere(folder.file("cut/checkpoint")) {
            try? FileManager.default.removeItem(atPath: folder.file("cut"))
            seconds = seconds > 1 ? 0.05 : seconds * 1.2
        }
        try fail(
            train("cut"), saying: "a training into \(folder.file("cut")) was cut short after step ",
            "; go on with it by --resume, or delete \(folder.file("cut/checkpoint")) to begin again")
        try fail(
            train("cut", "--resume", "--lr", "0.1"),
            saying: "the training into \(folder.file("cut")) was started with plan.learningRate = ", "now it is 0.1")
        try succeed(train("cut", "--resume"))
        for name in Self.files {
            // Events name the folder.
            let found = String(decoding: contents(of: folder.file("cut/" + name)), as: UTF8.self)
            let wanted = String(decoding: contents(of: folder.file("whole/" + name)), as: UTF8.self)
            expectSame(
                Array(found.replacing(folder.file("cut"), with: folder.file("whole")).utf8), Array(wanted.utf8), name)
        }
        #expect(try namesInFolder(folder.file("cut")).sorted() == Self.files.sorted())
    }

    /// The limit leaves room for the SAE (59 kB) and not for the three times as many numbers of a checkpoint.
    @Test func aDiskWithoutRoomForACheckpointCostsTheCheckpointAlone() throws {
        let words = train("sae", steps: 50, "--checkpoint-every", "0.0001")
        let result = try run("/bin/bash", ["-c", "ulimit -f 100; exec \"$@\"", "bash", builtProgram] + words)
        #expect(result.status == 0, "\(result.errors)")
        #expect(result.errors.contains("warning: no checkpoint of \(folder.file("sae")) at step "), "\(result.errors)")
        #expect(result.errors.contains("File too large, the limit on files is 102400 bytes (ulimit -f)"))
        #expect(isThere(folder.file("sae/cfg.json")))
    }

    /// Each record of a file for TensorBoard without the time in it, by its message's length before it.
    private func records(_ path: String) -> [ArraySlice<UInt8>] {
        var (rest, result) = (contents(of: path)[...], [ArraySlice<UInt8>]())
        while rest.count >= 16 {
            let length = Int(rest[rest.startIndex]) | Int(rest[rest.startIndex + 1]) << 8
            result.append(rest.dropFirst(12).prefix(length).dropFirst(9))
            rest = rest.dropFirst(length + 16)
        }
        #expect(rest.isEmpty)
        return result
    }

    @Test func aTrainingThatGoesOnHasEveryStepOnceForTensorBoard() throws {
        let file = "events.out.tfevents.0.dmsae"
        let asked = ["--log", "tensorboard", "--checkpoint-every", "0.0001"]
        try succeed(train("whole", steps: 600) + asked)
        let whole = records(folder.file("whole/" + file))
        #expect(whole.count == 102)
        var seconds = 0.05
        while try !cut(train("cut", steps: 600) + asked, after: seconds, by: SIGKILL)
            || TrainingCheckpoints.newestStep(in: folder.file("cut/checkpoint")) == nil
        {
            try? FileManager.default.removeItem(atPath: folder.file("cut"))
            seconds = seconds > 0.5 ? 0.05 : seconds * 1.1
        }
        try succeed(train("cut", steps: 600) + asked + ["--resume"])
        let isSame = records(folder.file("cut/" + file)) == whole
        #expect(isSame)
        // One that is trained anew in the same place begins the file anew, or leaves none of the other's.
        try succeed(train("cut", steps: 60) + asked)
        #expect(records(folder.file("cut/" + file)).count == 61)
        try succeed(train("cut", steps: 60))
        #expect(!isThere(folder.file("cut/" + file)))
    }

    @Test func aDistillationHasAFileForEachTrainingAndOneForItsCycles() throws {
        let recipe = folder.file("tiny.yaml"), file = "/events.out.tfevents.0.dmsae"
        try tiny.writeRecipe(steps: 20, to: recipe)
        try succeed(["distill", recipe, "--out", folder.file("run"), "--quiet", "--log", "tensorboard"])
        for training in ["cycle-0", "cycle-1", "cycle-2", "final/k-8/dmsae", "final/k-8/baseline"] {
            #expect(records(folder.file("run/" + training + file)).count == 21, "\(training)")
        }
        let cycles = records(folder.file("run" + file))
        #expect(cycles.count == 4)
        for tag in ["core/size", "core/Jaccard", "evaluation/explained_variance", "evaluation/CE_score"] {
            #expect(cycles[2].firstRange(of: Array(tag.utf8)) != nil, "\(tag)")
        }
        #expect(cycles[1].firstRange(of: Array("core/Jaccard".utf8)) == nil)
        try succeed(["report", folder.file("run")])
        try succeed(["distill", recipe, "--out", folder.file("run"), "--quiet", "--resume"])
    }

    /// What a distillation leaves, that is the same bytes however it came about.
    private func files(_ out: String) throws -> [String: [UInt8]] {
        var result: [String: [UInt8]] = [:]
        let names = try FileManager.default.subpathsOfDirectory(atPath: folder.file(out))
        for name in names where name.hasSuffix(".json") || name.hasSuffix(".safetensors") {
            result[name] = contents(of: folder.file(out + "/" + name))
        }
        return result
    }

    /// Instants are drawn over the whole of a run; with a checkpoint after every step many fall into the writing of one.
    @Test(arguments: [("gxa", false), ("ablation", false), ("gxa", true)])
    func aDistillationSurvivesKillsAtAnyInstant(_ scorer: String, live: Bool) throws {
        let recipe = folder.file("tiny.yaml")
        try tiny.writeRecipe(steps: 60, to: recipe)
        func distill(_ out: String, _ more: String...) -> [String] {
            ["distill", recipe, "--out", folder.file(out), "--quiet", "--checkpoint-every", "0"]
                + ["--set", "score.scorer=\(scorer)", "--set", "distill.tau=0.6"]
                + ["--set", "harvest.live=\(live)", "--set", "harvest.buffer=2048"] + more
        }
        let clock = ContinuousClock()
        let whole = try clock.measure { _ = try succeed(distill("whole")) } / .seconds(1)
        let expected = try files("whole")
        var random = SystemRandomNumberGenerator()
        var survived = 0
        // Some instants come before there is a run, or after it.
        for _ in 0..<20 * kills where survived < kills {
            let resume = isThere(folder.file("cut/run.json")) ? ["--resume"] : []
            if isThere(folder.file("cut/result.json")) {
                #expect(try files("cut") == expected)
                try FileManager.default.removeItem(atPath: folder.file("cut"))
                continue
            }
            let signal = [SIGKILL, SIGKILL, SIGTERM, SIGINT].randomElement(using: &random) ?? SIGKILL
            let seconds = Double.random(in: 0...whole, using: &random)
            if try cut(distill("cut") + resume, after: seconds, by: signal) { survived += 1 }
        }
        #expect(survived == kills)
        if !isThere(folder.file("cut/result.json")) {
            try succeed(distill("cut") + (isThere(folder.file("cut/run.json")) ? ["--resume"] : []))
        }
        let found = try files("cut")
        #expect(found.keys.sorted() == expected.keys.sorted())
        for (name, bytes) in expected { expectSame(found[name] ?? [], bytes, name) }
        print("\(survived) kills of a \(live ? "live " : "")distillation by \(scorer) survived")
    }
}
