import Foundation
import TensorFiles
import TestSupport
import Testing

/// Outputs: one writer at a time, whole or not at all, with what they were made from.
@Suite struct OutputTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }
    private var ids: String { folder.file("ids") }
    private var out: String { folder.file("out") }

    init() throws {
        tiny = try TinyModel()
        let golden = try Golden("gxa/gxa.safetensors")
        try write("x", try golden.matrix("x"), shape: [96, 48], to: tiny.folder.file("x"))
        try write(ids: (0..<64).map { $0 * 4 }, shape: [2, 32], to: tiny.folder.file("ids"))
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: tiny.folder.file("sae"))
    }

    private var input: [String] { ["--model", tiny.model, "--sae", folder.file("sae"), "--tokens", ids] }

    private func train(steps: Int = 3, k: Int = 8) -> [String] {
        [
            "train", "--activations", folder.file("x"), "--width", "128", "--k", "\(k)", "--batch", "32", "--steps",
            "\(steps)", "--out", out, "--quiet",
        ]
    }

    private func harvest(_ more: String...) -> [String] {
        [
            "harvest", "--model", tiny.model, "--layer", "1", "--text", tiny.text, "--context", "32", "--out", out,
            "--quiet",
        ] + more
    }

    @Test func whatAnotherProgramWritesIsLeftAlone() throws {
        let folderLock = try OutputLock.folder(out)
        let commands = [
            train(), harvest("--tokens", "64"),
            ["compare"] + input + ["--scorer", "gxa", "--scorer", "frequency", "--out", out],
        ]
        for command in commands {
            try fail(command, saying: "\(out) is being written by another program (process \(getpid())); wait for it")
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: out) == [".lock"])
        let checkpoint = folder.file("state")
        let fileLock = try OutputLock.file(checkpoint)
        try fail(
            ["score"] + input + ["--scorer", "ablation", "--checkpoint", checkpoint, "--out", folder.file("scores")],
            saying: "\(checkpoint) is being written by another program (process \(getpid()))")
        withExtendedLifetime((folderLock, fileLock)) {}
    }

    @Test func aTrainingThatIsKilledLeavesTheOlderSAEWithItsLogAndTheNextOneClearsUp() throws {
        try succeed(train())
        let names = ["cfg.json", "sae_weights.safetensors", "events.jsonl"]
        let before = names.map { contents(of: out + "/" + $0) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = train(steps: 1_000_000, k: 9)
        process.environment = startingEnvironment
        process.standardError = FileHandle.nullDevice
        try process.run()
        func leftovers() -> [String] {
            (try? FileManager.default.contentsOfDirectory(atPath: out).filter { $0.hasSuffix(".partial") }) ?? []
        }
        while process.isRunning && leftovers().isEmpty { usleep(2000) }
        usleep(20_000)
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        #expect(!leftovers().isEmpty, "killed too late to test anything")
        #expect(names.map { contents(of: out + "/" + $0) } == before)
        try succeed(train())
        #expect(names.map { contents(of: out + "/" + $0) } == before)
        #expect(try FileManager.default.contentsOfDirectory(atPath: out).sorted() == names.sorted())
    }

    @Test func aTrainingWhoseFolderIsMovedSaysSoAndLeavesNothingOfItsOwn() throws {
        let elsewhere = folder.file("elsewhere"), errors = folder.file("errors")
        _ = FileManager.default.createFile(atPath: errors, contents: nil)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: builtProgram)
        process.arguments = train(steps: 1_000_000)
        process.environment = startingEnvironment
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errors))
        try process.run()
        func names(_ path: String) -> [String] { (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [] }
        while process.isRunning && !names(out).contains(where: { $0.hasSuffix(".partial") }) { usleep(2000) }
        #expect(rename(out, elsewhere) == 0)
        process.waitUntilExit()
        #expect(process.terminationStatus == 1)
        #expect(
            String(decoding: contents(of: errors), as: UTF8.self)
                == "Error: \(out) was moved to \(elsewhere) while it was being written; nothing more is written: run the command "
                + "again\n")
        #expect(names(elsewhere) == [] && !isThere(out))
    }

    @Test func aFolderThatCannotBeMadeIsNamedWithTheReason() throws {
        let link = folder.file("link")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "nowhere")
        for (path, reason) in [
            ("", "cannot write \"\": it is no name of a folder; choose another place"),
            (link, "cannot write \(link): it is a link that leads nowhere; choose another place"),
            (folder.file("ids"), "it is a file, not a folder; choose another place"),
            (
                folder.file("ids/out"),
                "cannot write \(folder.file("ids")): it is a file, not a folder; choose another place"
            ),
        ] { try fail(train().map { $0 == out ? path : $0 }, saying: reason) }
    }

    @Test func aLockThatAnotherUserLeftHoldsNobodyUp() throws {
        try createFolder(out)
        try AtomicFile.write("1\n", to: out + "/.lock")
        for path in [folder.path, out] { #expect(chmod(path, 0o777) == 0) }
        // Root may read and write everything.
        let asNobody = getuid() == 0 ? ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : []
        func train(lockMode: mode_t) throws -> ProgramResult {
            #expect(chmod(out + "/.lock", lockMode) == 0)
            return try run("/usr/bin/env", asNobody + [builtProgram] + self.train())
        }
        let unreadable = try train(lockMode: 0)
        #expect(unreadable.status == 1)
        #expect(
            unreadable.errors
                == "Error: \(out)/.lock: this lock is another user's and cannot be read; remove it if no program of theirs is "
                + "writing there, or write elsewhere\n")
        let readable = try train(lockMode: 0o444)
        #expect(readable.status == 0, "\(readable.errors)")
        #expect(isThere(out + "/cfg.json") && !isThere(out + "/.lock"))
    }

    @Test func aLinkInThePlaceOfALogIsReplacedAndWhatItLeadsToIsNotTouched() throws {
        try createFolder(out)
        try AtomicFile.write("mine", to: folder.file("mine"))
        try FileManager.default.createSymbolicLink(atPath: out + "/events.jsonl", withDestinationPath: "../mine")
        try succeed(train())
        #expect(contents(of: folder.file("mine")) == Array("mine".utf8))
        #expect(contents(of: out + "/events.jsonl").count > 100)
    }

    @Test func aStoreSaysWhatItWasMadeFromAndIsTrainedOnOnlyAsItWas() throws {
        let words = try run(
            builtProgram, harvest("--tokens", "1000", "--skip", "64", "--keep-first", "2", "--sequences", "4"))
        #expect(words.status == 0 && words.errors == "", "\(words.errors)")
        let record = try JSONValue(contentsOf: out + "/store.json")
        #expect(record["hashes"]?["text"]?.string == (try SHA256.hexadecimal(ofFile: tiny.text)))
        #expect(record["hashes"]?["model config.json"]?.string != nil)
        #expect(record["keepFirst"]?.integer == 2 && record["skippedTokens"]?.integer == 64)
        #expect(record["sinkRatio"]?.double == 10 && record["specialTokens"]?.array?.isEmpty == false)
        #expect(record["settings"]?["sequences"]?.string == "4")
        #expect(record["settings"]?["skip bad lines"]?.string == "false")
        let shard = out + "/shard-00000.safetensors"
        #expect(record["shardHashes"]?.array?.first?.string == (try SHA256.hexadecimal(ofFile: shard)))

        let training = [
            "train", "--activations", out, "--width", "128", "--k", "8", "--batch", "64", "--steps", "2", "--out",
            folder.file("trained"), "--quiet",
        ]
        var bytes = contents(of: shard)
        bytes[bytes.count - 1] ^= 1
        try AtomicFile.write(bytes, to: shard)
        try fail(
            training, saying: "activation store \(out): \(shard) was changed after the harvest; harvest it again")
        #expect(!isThere(folder.file("trained")))
    }

    @Test func aShortTextIsHarvestedWithAWarning() throws {
        let result = try run(builtProgram, harvest("--tokens", "100000000"))
        #expect(result.status == 0, "\(result.errors)")
        let tokens = try JSONValue(contentsOf: out + "/store.json")["tokens"]?.integer ?? 0
        #expect(tokens > 1000 && tokens % 32 == 0)
        #expect(
            result.errors
                == "warning: \(tiny.text) has \(tokens) of the 100000000 tokens asked for; those are stored\n")
    }

    @Test func aMeasureOfNothingIsAnError() throws {
        let kept = "tokens are kept as the model's own (first positions, special tokens, attention sinks)"
        let corpus = ["--model", tiny.model, "--sae", folder.file("sae"), "--text", tiny.text, "--context", "32"]
        for json in [[], ["--json"]] {
            try fail(["eval"] + corpus + ["--keep-first", "32", "--tokens", "64"] + json, saying: "all of 64 " + kept)
            try fail(
                ["latents"] + corpus + ["--keep-first", "32", "--tokens", "64"] + json, saying: "all of 64 " + kept)
            try fail(
                ["score"] + input + ["--keep-first", "32", "--out", folder.file("scores")] + json,
                saying: "all of 64 " + kept)
            try fail(
                ["compare"] + input + ["--keep-first", "32", "--scorer", "gxa", "--scorer", "frequency", "--out", out]
                    + json, saying: "all of 64 " + kept)
        }
        try fail(
            harvest("--tokens", "64", "--keep-first", "32"), saying: "all positions of 64 tokens are left out",
            "relax --keep-first")
        #expect(!isThere(out + "/store.json") && !isThere(out + "/comparison.json"))
        // Only the last position is rebuilt, and no loss depends on it.
        try fail(
            ["eval"] + corpus + ["--keep-first", "31", "--tokens", "64"],
            saying: "no loss that is averaged depends on a reconstruction: in all sequences of 64 tokens")
        try fail(train(steps: 0), status: 64, saying: "--steps is 0; it must be at least 1")
    }

    @Test func scoresAndCoresSayHowTheyCameAbout() throws {
        let scores = folder.file("scores")
        try succeed(
            ["score"] + input + ["--scorer", "random,seed=7", "--sinks", "off", "--tau", "0.4", "--out", scores])
        let metadata = try SafetensorsFile(path: scores).metadata
        for (key, value) in [
            "scorer.settings": "seed=7", "sinks": "off", "keep_first": "1", "over": "all", "signed": "false",
            "tau": "0.4", "window": "none", "error_term": "false",
        ] { #expect(metadata[key] == value, "\(key)") }
        #expect(metadata["tokens.sha256"] == (try SHA256.hexadecimal(ofFile: ids)))
        #expect(metadata["SAE_configuration.sha256"]?.count == 64 && metadata["model.sha256"]?.count == 64)
        try succeed(["select", "--scores", scores, "--tau", "0.3", "--sae", folder.file("sae"), "--out", out])
        let origin = try JSONValue(contentsOf: out + "/core.json")["origin"]
        #expect(origin?["tau"]?.string == "0.3" && origin?["scores.tau"]?.string == "0.4")
        #expect(origin?["scores.sha256"]?.string == (try SHA256.hexadecimal(ofFile: scores)))
        #expect(origin?["scores.scorer.settings"]?.string == "seed=7")
    }

    @Test func anOutputTakesThePlaceOfNoInput() throws {
        let sae = folder.file("sae"), x = folder.file("x")
        func says(_ words: [String], _ part: String) throws {
            let before = [ids, x, tiny.text, sae + "/cfg.json"].map { contents(of: $0) }
            try fail(words, saying: part)
            #expect([ids, x, tiny.text, sae + "/cfg.json"].map { contents(of: $0) } == before)
        }
        // By another name, too.
        let link = folder.file("link")
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: ids)
        for path in [ids, link] {
            try says(["score"] + input + ["--out", path], "\(path): it is read by this command")
        }
        try says(["score"] + input + ["--out", sae + "/cfg.json"], "it is a file of \(sae), which this command reads")
        try says(["encode", "--sae", sae, "--input", x, "--out", x], "\(x): it is read by this command")
        try says(
            ["lm", "tokenize", "--model", tiny.model, "--text", tiny.text, "--out", tiny.text],
            "it is read by this command")
    }

    @Test func aFolderOfAnotherKindIsLeftAlone() throws {
        try createFolder(out)
        try AtomicFile.write("{}", to: out + "/run.json")
        for words in [
            train(), harvest("--tokens", "64"),
            ["compare"] + input + ["--scorer", "gxa", "--scorer", "frequency", "--out", out],
        ] { try fail(words, saying: "\(out): it holds a distillation (run.json), which would be mixed with") }
        let recipe = folder.file("tiny.yaml")
        try tiny.writeRecipe(to: recipe)
        try fail(["distill", recipe, "--out", folder.file("sae")], saying: "it holds an SAE (sae_weights.safetensors)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: out) == ["run.json"])
    }

    @Test func encoderVectorsOfAnotherCoreAreRefused() throws {
        let scores = folder.file("scores"), encoder = out + "/core.safetensors"
        try succeed(["score"] + input + ["--scorer", "random", "--out", scores])
        try succeed(["select", "--scores", scores, "--tau", "0.3", "--sae", folder.file("sae"), "--out", out])
        var bytes = contents(of: encoder)
        bytes[bytes.count - 1] ^= 1
        try AtomicFile.write(bytes, to: encoder)
        try fail(
            ["train", "--activations", folder.file("x"), "--core", out + "/core.json", "--width", "128", "--k", "8"]
                + ["--batch", "32", "--steps", "2", "--out", folder.file("trained")],
            saying: "core.safetensors beside it is not the one that was written with it")
    }

    @Test func paddingIsNotScoredAsText() throws {
        func write(_ name: String, _ marks: [Int64], padding: Int64 = 0) throws {
            var writer = SafetensorsWriter()
            writer.add(
                "input_ids", integers: (0..<64).map { marks[$0] == 1 ? Int64($0) * 4 : padding }, shape: [2, 32])
            writer.add(name, integers: marks, shape: [2, 32])
            try writer.write(to: ids)
        }
        try write("position_ids", [Int64](repeating: 0, count: 64))
        try fail(
            ["score"] + input + ["--out", folder.file("scores")],
            saying: "it holds position_ids beside input_ids, which would be passed over")
        try write("attention_mask", (0..<64).map { $0 < 32 || $0 > 40 ? 1 : 0 })
        try fail(
            ["score"] + input + ["--out", folder.file("scores")],
            saying: "attention_mask of row 1 is not ones and then zeros")
        // Whatever stands in padding: scores are the same to the bit, and of other sequences than without it.
        for scorer in ["gxa", "ablation", "ig", "frequency", "logit"] {
            func scores(_ count: Int, padding: Int64) throws -> [Float] {
                try write("attention_mask", (0..<64).map { $0 % 32 < ($0 < 32 ? 32 : count) ? 1 : 0 }, padding: padding)
                try succeed(
                    ["score"] + input + ["--scorer", scorer, "--aggregate", "mean", "--out", folder.file("scores")])
                return try SafetensorsFile(path: folder.file("scores")).matrix("scores").values
            }
            let found = try scores(17, padding: 5)
            #expect(try found == scores(17, padding: 300), "\(scorer)")
            #expect(try found != scores(18, padding: 5), "\(scorer)")
        }
    }

    @Test func aRecipeThatNamesFilesNeedsNoCacheAndTheDemoIsWhatWasFetched() throws {
        let recipe = folder.file("tiny.yaml")
        try tiny.writeRecipe(to: recipe)
        let result = try run(builtProgram, ["distill", recipe, "--out", out, "--quiet"], environment: [:])
        #expect(result.status == 0, "\(result.errors)")
        let cache = folder.file("cache")
        try createFolder(cache + "/demo")
        let model = cache + "/demo/SmolLM2-135M-Instruct.Q4_1.gguf"
        for path in [model, cache + "/demo/train.jsonl", cache + "/demo/test.jsonl"] {
            try AtomicFile.write("damaged", to: path)
        }
        let demo = try run(
            builtProgram, ["distill", "demo", "--out", folder.file("demo")], environment: ["DMSAE_CACHE": cache])
        #expect(demo.status == 1)
        #expect(
            demo.errors
                == "Error: \(model) is not the file that was fetched: its SHA-256 differs; run: dmsae fetch demo\n",
            "\(demo.errors)")
        #expect(!isThere(folder.file("demo")))
    }
}
