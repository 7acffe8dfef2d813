import Foundation
import TensorFiles
import TestSupport
import Testing

/// Commands with scorers in Python: wherever a scorer is named, a file of Python is as good.
@Suite(.enabled(if: hasNumpy, Comment(rawValue: numpyIsMissing)))
struct PythonCommandTests {
    private let folder = TemporaryFolder()

    init() throws {
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("sae"))
        try write(ids: try golden.file.integers("input_ids"), shape: [4, 24], to: folder.file("ids"))
    }

    private var input: [String] {
        ["--model", fixture("models/llama"), "--sae", folder.file("sae"), "--tokens", folder.file("ids")]
    }

    private func example(_ name: String) -> String { fixture("../../Plugins/Python/examples/\(name).py") }

    private func score(_ scorer: String, _ more: [String] = [], out: String = "scores") throws -> SafetensorsFile {
        try succeed(["score"] + input + ["--scorer", scorer, "--tau", "0.5", "--out", folder.file(out)] + more)
        return try SafetensorsFile(path: folder.file(out))
    }

    @Test func `gradient × activation by numpy ranks as the shipped one does, and says what it ran on`() throws {
        let python = try score(example("gxa"), ["--per-token"]), shipped = try score("gxa", ["--per-token"], out: "s")
        #expect(try python.integers("core") == shipped.integers("core"))
        let (a, b) = (try python.doubles("per_token"), try shipped.doubles("per_token"))
        // Sums of 48 products in float.
        let most = 1e-6 * b.reduce(0) { max($0, abs($1)) }
        #expect(most > 0 && paired(a, b).allSatisfy { abs($0 - $1) <= most })
        let versions = try run(
            "/usr/bin/env",
            ["python3", "-c", "import numpy, platform; print(platform.python_version(), numpy.__version__)"]
        ).output.split { $0 == " " || $0 == "\n" }
        #expect(python.metadata["plugin runtime Python"] == versions.first.map(String.init))
        #expect(python.metadata["plugin runtime numpy"] == versions.last.map(String.init))
        #expect(python.metadata["gxa.py.sha256"] == (try SHA256.hexadecimal(ofFile: example("gxa"))))
        #expect(python.metadata["scorer.id"] == "gxa" && python.metadata["scorer.version"] == "1.0")
        #expect(shipped.metadata["plugin runtime Python"] == nil)
    }

    @Test func `totals in shards are those of the whole pass, and another file does not go on from them`() throws {
        let own = folder.file("peak.py")
        try AtomicFile.write(String(decoding: contents(of: example("peak")), as: UTF8.self), to: own)
        let whole = try score(own, out: "whole")
        for part in ["1/2", "2/2"] {
            try succeed(
                ["score"] + input + ["--scorer", own, "--out", folder.file("part"), "--shard", part, "--checkpoint"]
                    + [folder.file("state" + part.prefix(1))])
        }
        let merge = ["--merge", folder.file("state1"), "--merge", folder.file("state2")]
        let merged = try score(own, merge, out: "merged")
        #expect(try whole.doubles("tokens") == merged.doubles("tokens"))
        // Activations are products whose sums are cut as batches are.
        for (a, b) in paired(try whole.doubles("scores"), try merged.doubles("scores")) {
            #expect(abs(a - b) <= 1e-6 * abs(a) || a.isNaN && b.isNaN)
        }
        #expect(whole.tensors["tokens"] != nil)
        try AtomicFile.write(String(decoding: contents(of: own), as: UTF8.self) + "# longer\n", to: own)
        let again = try run(
            builtProgram, ["score"] + input + ["--scorer", own, "--tau", "0.5", "--out", folder.file("again")] + merge)
        #expect(again.status == 0 && again.errors.contains("was made by another build of Peak"), "\(again.errors)")
    }

    @Test func `a comparison takes Python beside the shipped ones`() throws {
        let text = try succeed(
            ["compare"] + input + [
                "--scorer", "gxa", "--scorer", example("integrated_gradients") + ",steps=2", "--tau", "0.5",
            ]
                + ["--draws", "20", "--out", folder.file("comparison")])
        #expect(text.contains("integrated_gradients.py,steps=2 "), "\(text)")
        let record = String(decoding: contents(of: folder.file("comparison/comparison.json")), as: UTF8.self)
        #expect(record.contains("plugin runtime numpy") && record.contains("integrated_gradients.py.sha256"))
    }

    @Test func `a distillation scores with Python, says what it ran on, and goes on only with the same file`() throws {
        let tiny = try TinyModel(), run = folder.file("run"), own = folder.file("own.py")
        try tiny.writeRecipe(to: folder.file("tiny.yaml"))
        try AtomicFile.write(String(decoding: contents(of: example("gxa")), as: UTF8.self), to: own)
        let words = ["distill", folder.file("tiny.yaml"), "--out", run, "--quiet", "--set", "score.scorer=\(own)"]
        try succeed(words)
        let hashes = try #require(try JSONValue(contentsOf: run + "/run.json")["hashes"])
        #expect(hashes["scorer"]?.string == (try SHA256.hexadecimal(ofFile: own)))
        #expect(hashes["scorer runtime Python"]?.string?.first == "3" && hashes["scorer runtime numpy"]?.string != nil)
        let scores = try SafetensorsFile(path: run + "/cycle-1/scores.safetensors").metadata
        #expect(scores["scorer runtime Python"] == hashes["scorer runtime Python"]?.string)
        try AtomicFile.write(String(decoding: contents(of: own), as: UTF8.self) + "# longer\n", to: own)
        try fail(words + ["--resume"], saying: "scorer")
    }

    @Test func `a new scorer in Python is valid, and scores as the new one in C says it does`() throws {
        let here = FileManager.default.currentDirectoryPath
        let commands = """
            cd '\(folder.path)' && '\(builtProgram)' plugin new --lang python own-one && \
            '\(builtProgram)' plugin validate own-one/own-one.py && '\(builtProgram)' plugin inspect own-one/own-one.py --load
            """
        let result = try run("/bin/sh", ["-c", commands])
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        #expect(result.output.contains(" 0 failed"), "\(result.output)")
        for check in [
            "load", "unknown-setting", "bad-setting", "defaults", "sign", "many-calls", "leaves-as-found", "no-leak",
            "ends", "cancel",
        ] {
            #expect(result.output.contains("  ok       \(check)\n"), "\(check): \(result.output)")
        }
        #expect(result.output.contains("scale  Factor on every score"))
        #expect(FileManager.default.currentDirectoryPath == here)
        let file = try score(folder.file("own-one/own-one.py") + ",scale=2", ["--per-token"])
        let one = try score(folder.file("own-one/own-one.py"), ["--per-token"], out: "one")
        let (a, b) = (try file.doubles("per_token"), try one.doubles("per_token"))
        #expect(b.contains { $0 != 0 } && paired(a, b).allSatisfy { $0 == 2 * $1 })
        try fail(
            ["score"] + input + [
                "--scorer", folder.file("own-one/own-one.py") + ",scale=-1", "--out", folder.file("x"),
            ],
            saying: "scale of own-one is '-1'; give a number from 0 to 1000000")
    }

    @Test(arguments: ["integrated_gradients", "peak"]) func `the examples keep the promises of the headers`(
        name: String
    )
        throws
    {
        // What takes its time is put to the new scorer above.
        let slow = ["many-calls", "many-latents", "no-leak", "idle", "cancel"]
        let result = try run(builtProgram, ["plugin", "validate", example(name)] + slow.flatMap { ["--skip", $0] })
        #expect(result.status == 0 && result.output.contains(" 0 failed"), "\(result.output)\(result.errors)")
    }

    @Test func `what is broken fails validation by name`() throws {
        try AtomicFile.write(
            """
            from dmsae import scorer
            calls = 0
            @scorer
            def moody(batch):
                global calls
                calls += 1
                return batch.activations * calls
            """, to: folder.file("moody.py"))
        let result = try run(builtProgram, ["plugin", "validate", folder.file("moody.py")])
        #expect(result.status == 1 && result.output.contains("FAILED   no-memory"), "\(result.output)")
    }

    @Test func `a traceback reaches the terminal in its lines`() throws {
        try AtomicFile.write(
            "from dmsae import scorer\n@scorer\ndef own(batch):\n    return 1 / 0\n", to: folder.file("own.py"))
        try fail(
            ["score"] + input + ["--scorer", folder.file("own.py"), "--out", folder.file("x")],
            saying:
                "Error: score of scorer 'own' of \(folder.file("own.py")) failed: Traceback (most recent call last):\n",
            "own.py\", line 4, in own\n    return 1 / 0\n", "\nZeroDivisionError: division by zero\n")
        try fail(
            ["score"] + input + ["--in-process", "--scorer", folder.file("own.py"), "--out", folder.file("x")],
            saying: "own.py is run by an interpreter of Python, in a process of its own; leave --in-process out")
        try fail(
            ["score"] + input + [
                "--python", "/no/python", "--scorer", folder.file("own.py"), "--out", folder.file("x"),
            ],
            saying:
                "no Python for a scorer in Python: /no/python: No such file or directory; install Python 3.9 or newer")
        try fail(
            ["plugin", "inspect", folder.file("own.py")], status: 64,
            saying: "own.py is Python, and nothing is known of it without running it; pass --load")
    }
}
