import Attribution
import Distillation
import Foundation
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// Trainings on activations that the model makes on the way.
@Suite struct LiveTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }

    init() throws { tiny = try TinyModel() }

    private func train(_ out: String, steps: Int = 60, _ more: String...) -> [String] {
        [
            "train", "--model", tiny.model, "--layer", "1", "--text", tiny.text, "--context", "32", "--buffer", "1024",
            "--width", "128", "--k", "8", "--batch", "64", "--steps", "\(steps)", "--out", folder.file(out), "--quiet",
        ] + more
    }

    /// Rows of the first `blocks` blocks of 1,024 tokens, each in the order of seed 1.
    private func rows(ofBlocks blocks: Int) throws -> Matrix {
        let (model, tokenizer) = (try loadLanguageModel(path: tiny.model), try Tokenizer.load(path: tiny.model))
        let data = try TokenDataset(
            corpus: try TextCorpus(path: tiny.text), tokenizer: tokenizer, length: 32, limit: blocks * 1024)
        let special = Set(model.configuration.specialTokenIds.map { Int32($0) }).union(tokenizer.specialTokens)
        let policy = SplicePolicy(specialTokens: special)
        var result: [Float] = []
        for block in 0..<blocks {
            var rows: [[Float]] = []
            for _ in 0..<4 {
                let batch = try #require(try data.nextBatch(sequences: 8))
                let x = try model.residual(of: batch, at: .residPost(1))
                let replaced = policy.replaced(batch, residual: x)
                rows += (0..<x.rows).filter { replaced[$0] != 0 }.map { r in (0..<48).map { x[r, $0] } }
            }
            let order = CounterRandom(seed: 1, purpose: .liveShuffle, step: UInt32(block)).permutation(rows.count)
            result += order.flatMap { rows[Int($0)] }
        }
        return Matrix(rows: result.count / 48, columns: 48, result)
    }

    @Test func aLiveTrainingIsOneOnTheSameRowsGivenAsAFileInTheirOrder() throws {
        try write("x", try rows(ofBlocks: 4), to: folder.file("x"))
        try succeed(train("live", "--input-scale", "none"))
        try succeed([
            "train", "--activations", folder.file("x"), "--no-shuffle", "--input-scale", "none", "--width", "128",
            "--k",
            "8", "--batch", "64", "--steps", "60", "--out", folder.file("stored"), "--quiet",
        ])
        let (live, stored) = try (
            SafetensorsFile(path: folder.file("live/sae_weights.safetensors")),
            SafetensorsFile(path: folder.file("stored/sae_weights.safetensors"))
        )
        for name in ["W_enc", "b_enc", "W_dec", "b_dec", "threshold"] {
            #expect(try live.matrix(name).values == stored.matrix(name).values, "\(name)")
        }
        // It says what it was made from, so that eval needs no --layer.
        let record = try JSONValue(contentsOf: folder.file("live/cfg.json"))["metadata"]?["dmsae"]?["provenance"]
        #expect(record?["layer"]?.integer == 1 && record?["contextLength"]?.integer == 32)
        #expect(record?["settings"]?["order"]?.string == "live, shuffled in blocks of 1024 tokens")
        #expect(record?["settings"]?["tokens of a block"]?.string == "1024")
        #expect(record?["hashes"]?["text"]?.string == (try SHA256.hexadecimal(ofFile: tiny.text)))
    }

    /// Runs a program until it has a checkpoint, and ends it.
    private func cut(_ arguments: [String], by signal: Int32) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = arguments
        process.environment = startingEnvironment
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        let kept = folder.file("cut/checkpoint")
        func isKept() -> Bool {
            ((try? namesInFolder(kept)) ?? []).contains { $0.hasSuffix(".json") }
        }
        while process.isRunning && !isKept() { usleep(1000) }
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
        #expect(
            signal == SIGKILL ? process.terminationReason == .uncaughtSignal : process.terminationStatus == 128 + signal
        )
    }

    @Test(arguments: [SIGKILL, SIGINT]) func aTrainingThatWasCutShortGoesOnToTheSameBits(_ signal: Int32) throws {
        // The text's 14,000 tokens are gone through several times.
        let words = ["--checkpoint-every", "0.0001"]
        let result = try run(builtProgram, train("whole", steps: 1500) + words)
        #expect(result.status == 0 && result.errors.split(separator: "\n").count == 1, "\(result.errors)")
        #expect(result.errors.hasPrefix("warning: all "), "\(result.errors)")
        try cut(train("cut", steps: 1500) + words, by: signal)
        let text = folder.file("other.jsonl")
        try AtomicFile.write(contents(of: tiny.text) + Array(#"{"text": "a cat"}"#.utf8) + [10], to: text)
        var other = train("cut", steps: 1500, "--resume")
        other[other.firstIndex(of: tiny.text)!] = text
        let (was, now) = try (SHA256.hexadecimal(ofFile: tiny.text), SHA256.hexadecimal(ofFile: text))
        try fail(
            other,
            saying: "the training into \(folder.file("cut")) was started with hashes.text = \(was), now it is \(now)")
        try fail(
            train("cut", steps: 1500, "--resume", "--buffer", "2048"),
            saying:
                "was started with settings.order = live, shuffled in blocks of 1024 tokens, now it is live, shuffled in "
        )
        let resumed = try run(builtProgram, train("cut", steps: 1500, "--resume") + words)
        #expect(resumed.status == 0, "\(resumed.errors)")
        for name in ["sae_weights.safetensors", "cfg.json"] {
            expectSame(contents(of: folder.file("cut/" + name)), contents(of: folder.file("whole/" + name)), name)
        }
    }

    @Test func whatDoesNotGoTogetherIsRefused() throws {
        let stored = [
            "train", "--activations", folder.file("x"), "--k", "8", "--steps", "4", "--out", folder.file("no"),
        ]
        for (option, value) in [
            ("--context", "32"), ("--buffer", "1024"), ("--text", "t"), ("--layer", "1"), ("--sinks", "off"),
            ("--keep-first", "2"), ("--pack", "no"), ("--text-key", "body"),
        ] {
            try fail(
                stored + [option, value], status: 64,
                saying: "\(option) is about activations that --model makes; give one, or leave it out")
        }
        try fail(
            train("no", "--activations", "x"), status: 64,
            saying: "--activations are there already, and --model would make them; give one of them")
        try fail(train("no", "--no-shuffle"), status: 64, saying: "--no-shuffle is for files of activations")
        try fail(
            ["train", "--k", "8", "--steps", "4", "--out", folder.file("no")], status: 64,
            saying: "missing what to train on; give --activations, or --model and --text")
        try fail(
            ["train", "--model", tiny.model, "--layer", "1", "--k", "8", "--steps", "4", "--out", folder.file("no")],
            status: 64, saying: "--model makes activations of a text; give --text")
        var words = train("no")
        words[words.firstIndex(of: "1024")!] = "2147483647"
        try fail(words, saying: "a block of 2147483648 tokens is too large to be shuffled")
        words[words.firstIndex(of: "2147483647")!] = "2147480000"
        // 2147480064 · (48 + 1) · 4 bytes.
        try fail(words, saying: "a block of activations 392 GiB", "lower --width, --batch or --buffer")
        #expect(!isThere(folder.file("no")))
    }

    // MARK: Distillations

    private func distill(_ out: String, _ more: String...) -> [String] {
        ["distill", folder.file("tiny.yaml"), "--out", folder.file(out), "--quiet", "--set", "harvest.live=true"]
            + ["--set", "harvest.buffer=2048"] + more
    }

    @Test func aLiveDistillationStoresNothingAndSaysWhatItsRowsWere() throws {
        try tiny.writeRecipe(steps: 40, to: folder.file("tiny.yaml"))
        let result = try run(builtProgram, distill("run"))
        #expect(result.status == 0, "\(result.errors)")
        let path = folder.file("run/store/live.json")
        #expect(try namesInFolder(folder.file("run/store")) == ["live.json"])
        let record = try JSONValue(contentsOf: path)
        // 512 scored and 512 evaluated tokens come before those that are trained on.
        #expect(record["skippedTokens"]?.integer == 1024 && record["settings"]?["tokens of a block"]?.string == "2048")
        let sae = try JSONValue(contentsOf: folder.file("run/cycle-1/sae/cfg.json"))["metadata"]?["dmsae"]?[
            "provenance"]
        #expect(sae?["settings"]?["order"]?.string == "live, shuffled in blocks of 2048 tokens")
        #expect(sae?["inputScale"] == record["inputScale"])
        let mark = try JSONValue(contentsOf: folder.file("run/cycle-0/done.json"))
        #expect(mark["after"]?.string == (try SHA256.hexadecimal(ofFile: path)))
        try succeed(["report", folder.file("run")])
        try fail(
            ["distill", folder.file("tiny.yaml"), "--out", folder.file("no"), "--quiet", "--together", "2"],
            status: 64, saying: "--together is of live trainings (harvest.live: true)")
        // Neither another buffer nor another record is built upon.
        try fail(
            distill("run", "--resume", "--set", "harvest.buffer=4096"),
            saying: "was started with harvest.buffer = 2048, now it is 4096")
        try fail(
            ["distill", folder.file("tiny.yaml"), "--out", folder.file("run"), "--quiet", "--resume"],
            saying: "was started with harvest.tokens = unset, now it is 4000")
        let text = String(decoding: contents(of: path), as: UTF8.self)
        try AtomicFile.write(text.replacing(#/"inputScale" : \d+/#, with: #""inputScale" : 9"#), to: path)
        try fail(
            distill("run", "--resume"),
            saying: "\(folder.file("run/store")) cannot be read back: \(path) is not as the run wrote it")
        try AtomicFile.write(text, to: path)
        try succeed(distill("run", "--resume", "--json"))
    }
}
