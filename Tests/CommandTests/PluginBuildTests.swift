import Foundation
import TensorFiles
import TestSupport
import Testing

/// Plugins as commands name, record and limit them.
struct PluginBuildTests {
    private let folder = TemporaryFolder()
    private var plugin: String { folder.file("plugin.so") }

    init() throws {
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("sae"))
        try write(ids: try golden.file.integers("input_ids"), shape: [4, 24], to: folder.file("ids"))
    }

    private var input: [String] {
        ["--model", fixture("models/llama"), "--sae", folder.file("sae"), "--tokens", folder.file("ids")]
    }

    private func score(_ more: String...) -> [String] {
        ["score"] + input + ["--tau", "0.5", "--sequences", "2", "--out", folder.file("scores")] + more
    }

    /// Compiles a file of `Plugins`, after `changes` of its text, to `plugin.so`.
    private func compile(_ name: String, _ changes: [String: String] = [:], to path: String? = nil) throws {
        var source = String(decoding: contents(of: fixture("../../Plugins/\(name)/\(name).c")), as: UTF8.self)
        for (old, new) in changes {
            #expect(source.contains(old))
            source = source.replacing(old, with: new)
        }
        try compile(source: source, to: path ?? plugin)
    }

    private func compile(source: String, to path: String) throws {
        try AtomicFile.write(source, to: path + ".c")
        let result = try run(
            "/usr/bin/env",
            ["cc", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-I", fixture("../../Include"), path + ".c"]
                + ["-o", path])
        #expect(result.status == 0, "\(result.errors)")
    }

    // MARK: Another build

    @Test func `what another build of a plugin counted is not gone on from`() throws {
        let checkpoint = folder.file("state")
        try compile("ActivationFrequency")
        let old = try SHA256.hexadecimal(ofFile: plugin)
        try succeed(score("--scorer", plugin, "--checkpoint", checkpoint))
        let scores = try SafetensorsFile(path: folder.file("scores"))
        #expect(scores.metadata["scorer.sha256"] == old && scores.metadata["plugin.so.sha256"] == old)
        try succeed(score("--scorer", plugin, "--checkpoint", checkpoint))
        // The same version, other code.
        try compile(
            "ActivationFrequency",
            ["#include <string.h>": "#include <string.h>\n__attribute__((used)) static int other;"])
        let now = try SHA256.hexadecimal(ofFile: plugin)
        for how in [["--checkpoint", checkpoint], ["--merge", checkpoint]] {
            try fail(
                score("--scorer", plugin) + how,
                saying:
                    "\(checkpoint) was made by another build of plugin.so (sha256 \(old)), this one is \(now); go on with "
                    + "what it was made with, name another file or folder, or delete it")
        }
        // From before builds were kept.
        let state = try SafetensorsFile(path: checkpoint)
        let key = try #require(state.metadata["key"])
        var writer = SafetensorsWriter(metadata: ["key": key.replacing(#""plugin.so.sha256":"\#(old)","#, with: "")])
        for name in state.tensors.keys { writer.add(name, integers: try state.integers(name)) }
        try writer.write(to: folder.file("older"))
        try fail(
            score("--scorer", plugin, "--checkpoint", folder.file("older")),
            saying: "older was made by a dmsae that did not keep which build of plugin.so it ran, this one is \(now);")
    }

    @Test func `a comparison does not take up another build's scores`() throws {
        let words =
            ["compare"] + input + ["--scorer", plugin, "--scorer", "random", "--tau", "0.5", "--draws", "20"]
            + ["--curve-sequences", "0", "--out", folder.file("c")]
        try compile("ActivationFrequency")
        let old = try SHA256.hexadecimal(ofFile: plugin)
        try succeed(words)
        let record = String(decoding: contents(of: folder.file("c/comparison.json")), as: UTF8.self)
        #expect(record.contains("frequency \(old)"))
        try compile(
            "ActivationFrequency",
            ["#include <string.h>": "#include <string.h>\n__attribute__((used)) static int other;"])
        try fail(
            words, saying: "scores-0.safetensors was made by another build of plugin.so (sha256 \(old)), this one is ")
    }

    @Test func `a training records the rule that trained it`() throws {
        try compile("TopK")
        try write("x", Golden("gxa/gxa.safetensors").matrix("x"), shape: [96, 48], to: folder.file("x"))
        try succeed(
            ["train", "--activations", folder.file("x"), "--k", "4", "--width", "64", "--batch", "32", "--steps", "2"]
                + ["--sparsity", plugin, "--out", folder.file("trained"), "--quiet"])
        let configuration = String(decoding: contents(of: folder.file("trained/cfg.json")), as: UTF8.self)
        #expect(configuration.contains(try SHA256.hexadecimal(ofFile: plugin)))
    }

    // MARK: Sizes

    @Test(arguments: [[], ["--in-process"]]) func `a rule's state that cannot be had is refused before the training`(
        more: [String]
    ) throws {
        try compile("TopK", ["(void)latent_count;\n    return 0;": "(void)latent_count;\n    return 1ull << 50;"])
        try write("x", Golden("gxa/gxa.safetensors").matrix("x"), shape: [96, 48], to: folder.file("x"))
        try fail(
            ["train", "--activations", folder.file("x"), "--k", "4", "--width", "64", "--batch", "32", "--steps", "2"]
                + ["--sparsity", plugin, "--out", folder.file("trained"), "--quiet"] + more,
            saying: "plugin 'topk' asks for a state of 1125899906842624 bytes, and ", "correct \(plugin)")
        #expect(!isThere(folder.file("trained/events.jsonl")))
        let validation = try run(builtProgram, ["plugin", "validate", plugin])
        #expect(validation.status == 1 && validation.output.contains("a state of 1125899906842624 bytes, and "))
    }

    // MARK: The process

    @Test func `a plugin in this process does not move what is written`() throws {
        try compile(
            source: """
                #include "dmsae/single_scorer.h"
                #include <unistd.h>
                __attribute__((constructor)) static void load(void) { if (chdir("/") != 0) _exit(9); }
                static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *s, dmsae_call *call) {
                    if (chdir("/tmp") != 0) return DMSAE_ERR_FAILED;
                    for (int64_t e = 0; e < batch->codes->count; e++) s[e] = batch->codes->values[e];
                    return DMSAE_OK;
                }
                DMSAE_SINGLE_SCORER("moves", "1", "MIT", "Moves", 0, score)
                """, to: plugin)
        let words = ["score", "--model", fixture("models/llama"), "--sae", "sae", "--tokens", "ids", "--tau", "0.5"]
        let result = try run(
            "/usr/bin/env",
            ["-C", folder.path, builtProgram] + words + ["--scorer", "./plugin.so", "--out", "moved", "--in-process"])
        #expect(result.status == 0, "\(result.errors)")
        #expect(isThere(folder.file("moved")))
    }

    @Test func `a variable goes to a plugin when it is asked for`() throws {
        try compile(
            source: """
                #include "dmsae/single_scorer.h"
                #include <stdlib.h>
                static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *s, dmsae_call *call) {
                    if (!getenv("OWN") || !getenv("OMP_NUM_THREADS") || getenv("MY_TOKEN")) return DMSAE_ERR_FAILED;
                    for (int64_t e = 0; e < batch->codes->count; e++) s[e] = batch->codes->values[e];
                    return DMSAE_OK;
                }
                DMSAE_SINGLE_SCORER("asks", "1", "MIT", "Asks", 0, score)
                """, to: plugin)
        var environment = startingEnvironment
        for name in ["OWN", "OMP_NUM_THREADS", "MY_TOKEN"] { environment[name] = "1" }
        let words = score("--scorer", plugin)
        #expect(try run(builtProgram, words + ["--plugin-env", "OWN"], environment: environment).status == 0)
        #expect(try run(builtProgram, words, environment: environment).status == 1)
        try fail(words + ["--plugin-env", "OWN"], saying: "no variable 'OWN' to pass on to plugins")
        try fail(words + ["--plugin-env", "OWN=1"], status: 64, saying: "--plugin-env is 'OWN=1'; give the name")
    }

    // MARK: The environment

    private func environment(_ variables: [String: String?]) -> [String: String] {
        var environment = startingEnvironment
        for (name, value) in variables { environment[name] = value }
        return environment
    }

    @Test func `what a plugin counted in another environment is not gone on from`() throws {
        try compile("ActivationFrequency")
        let checkpoint = folder.file("state"), words = score("--scorer", plugin, "--plugin-env", "OWN")
        func run(_ variables: [String: String?], _ how: [String]) throws -> ProgramResult {
            try TestSupport.run(builtProgram, words + how, environment: environment(variables))
        }
        let first = ["OMP_MY": "1", "OWN": "secret"] as [String: String?]
        #expect(try run(first, ["--checkpoint", checkpoint]).status == 0)
        let recorded = try SafetensorsFile(path: folder.file("scores")).metadata
        #expect(recorded["plugin variable OMP_MY.sha256"] == SHA256.hexadecimal(SHA256.digest(of: "1")))
        #expect(recorded["plugin variable OWN.sha256"] == SHA256.hexadecimal(SHA256.digest(of: "secret")))
        #expect(!recorded.values.contains("secret") && !recorded.keys.contains { $0.contains(" PATH.") })
        // Where things are does not count.
        #expect(
            try run(first.merging(["TMPDIR": folder.path]) { $1 }, ["--checkpoint", checkpoint]).status == 0)
        for (variables, how, name, advice) in [
            (["OMP_MY": "2"], "with another value of", "OMP_MY", "set it as it was"),
            (["OMP_MY": nil], "with", "OMP_MY", "set it as it was"),
            (["OMP_NEW": "1"], "without", "OMP_NEW", "unset it"),
            (["OWN": "other"], "with another value of", "OWN", "set it as it was"),
        ] as [([String: String?], String, String, String)] {
            let message = "\(how) the environment variable \(name), which plugins can read; \(advice)"
            for how in ["--checkpoint", "--merge"] {
                for more in [[], ["--in-process"]] {
                    let result = try run(first.merging(variables) { $1 }, [how, checkpoint] + more)
                    #expect(
                        result.status == 1
                            && result.errors.contains(
                                "\(checkpoint) was made \(message), name another file or folder, or delete it"),
                        "\(result.errors)")
                }
            }
        }
    }

    @Test func `a comparison does not take up scores from another environment`() throws {
        try compile("ActivationFrequency")
        let words =
            ["compare"] + input + ["--scorer", plugin, "--scorer", "random", "--tau", "0.5", "--draws", "20"]
            + ["--curve-sequences", "0", "--out", folder.file("c")]
        func run(_ value: String) throws -> ProgramResult {
            try TestSupport.run(builtProgram, words, environment: environment(["OMP_MY": value]))
        }
        #expect(try run("1").status == 0)
        #expect(try run("1").status == 0)
        let record = String(decoding: contents(of: folder.file("c/comparison.json")), as: UTF8.self)
        #expect(record.contains("plugin variable OMP_MY"))
        let other = try run("2")
        #expect(
            other.status == 1
                && other.errors.contains(
                    "scores-0.safetensors was made with another value of the environment variable OMP_MY"),
            "\(other.errors)")
    }

    @Test func `shipped plugins do not depend on the environment`() throws {
        let words = score("--scorer", "frequency", "--checkpoint", folder.file("state"))
        #expect(try TestSupport.run(builtProgram, words, environment: environment(["OMP_MY": "1"])).status == 0)
        #expect(try TestSupport.run(builtProgram, words, environment: environment(["OMP_MY": "2"])).status == 0)
    }

    // MARK: The end

    /// What would otherwise take SIGTERM for a wish to stop politely, and never come to it.
    @Test(arguments: ["for (;;) pause();", "abort();", "_exit(9);"])
    func `a plugin in this process does not spoil the end of the program`(fault: String) throws {
        try compile(
            source: """
                #include "dmsae/single_scorer.h"
                #include <stdlib.h>
                #include <unistd.h>
                static void leave(void) { \(fault) }
                __attribute__((constructor)) static void load(void) { atexit(leave); }
                static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *s, dmsae_call *call) {
                    for (int64_t e = 0; e < batch->codes->count; e++) s[e] = batch->codes->values[e];
                    return DMSAE_OK;
                }
                DMSAE_SINGLE_SCORER("leaves", "1", "MIT", "Leaves", 0, score)
                """, to: plugin)
        func run(_ scorer: String) throws -> ProgramResult {
            let words = ["timeout", "60", builtProgram] + score("--scorer", scorer, "--in-process")
            return try TestSupport.run("/usr/bin/env", words)
        }
        let result = try run(plugin)
        #expect(result.status == 0 && result.output.contains("tokens scored"), "\(result.errors)")
        let failed = try run(plugin + ",a=1")
        #expect(failed.status == 1, "\(failed.errors)")
    }

    // MARK: Plain functions

    @Test func `a plain function is inspected, listed, named and refused settings`() throws {
        try compile(
            source: """
                #include <stdint.h>
                __attribute__((visibility("default"))) int32_t activation(int64_t n, const float *f, float *s) {
                    for (int64_t e = 0; e < n; e++) s[e] = f[e];
                    return n < 0;
                }
                """, to: plugin)
        try AtomicFile.write(
            """
            version: 1
            symbol: activation
            args: ["entries:i64", "activations:f32*", "scores:f32*"]
            returns: i32

            """, to: folder.file("plugin.yaml"))
        for more in [[], ["--load"]] {
            let text = try succeed(["plugin", "inspect", plugin] + more)
            #expect(
                text.contains("activation  plain function, a scorer\n  a plain function, called as plugin.yaml says"))
            #expect(text.contains("returns i32; arguments: entries:i64, activations:f32*, scores:f32*"))
            #expect(text.contains("no settings"))
        }
        var environment = startingEnvironment
        environment["DMSAE_PLUGIN_PATH"] = folder.path
        let list = try run(builtProgram, ["plugin", "list"], environment: environment)
        #expect(list.output.contains("activation") && !list.output.contains("not loaded"), "\(list.output)")
        #expect(try run(builtProgram, score("--scorer", "activation"), environment: environment).status == 0)
        let hashes = try SafetensorsFile(path: folder.file("scores")).metadata
        #expect(hashes["plugin.yaml.sha256"] == (try SHA256.hexadecimal(ofFile: folder.file("plugin.yaml"))))
        try fail(
            score("--scorer", plugin + ",alpha=2"),
            saying: "unknown parameter 'alpha'; activation takes none; see `dmsae plugin inspect \(plugin)`")
        unlink(folder.file("plugin.yaml"))
        try fail(
            score("--scorer", plugin),
            saying:
                "define that function with default visibility (see entry.h), or, if it holds a plain function, say in "
                + "\(folder.file("plugin.yaml")) how to call it")
    }
}
