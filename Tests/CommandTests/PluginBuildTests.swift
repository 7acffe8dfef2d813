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

    /// Frequencies by a build with a mark of its own, which calls itself `version` and goes on from states of those that
    /// `accepts` is true of; of all, without a word of its own, for nil.
    private func compileFrequency(
        _ mark: String = "first", version: String = "1.0.0", accepts: String? = nil, stateVersion: Int = 1
    ) throws {
        var changes = [
            "#include <string.h>": "#include <string.h>\n__attribute__((used)) static int mark_\(mark);",
            "\"1.0.0\"": "\"\(version)\"", "sizeof scorer, 1,": "sizeof scorer, \(stateVersion),",
        ]
        if let accepts {
            changes["static const char *const extensions[] = {DMSAE_SCORER_ACCUMULATE};"] =
                "static int32_t accepts(dmsae_instance *self, const char *v) { return \(accepts); }\n"
                + "static const dmsae_state states = {sizeof states, 0, accepts};\n"
                + "static const char *const extensions[] = {DMSAE_SCORER_ACCUMULATE, DMSAE_STATE};"
            changes["    extensions, 1, 0,"] = "    extensions, 2, 0,"
            changes["    return strcmp(id, DMSAE_SCORER_ACCUMULATE)"] =
                "    if (strcmp(id, DMSAE_STATE) == 0) return &states;\n    return strcmp(id, DMSAE_SCORER_ACCUMULATE)"
        }
        try compile("ActivationFrequency", changes)
    }

    @Test func `what another build of a plugin counted is gone on from with a warning, unless the state is another`()
        throws
    {
        let checkpoint = folder.file("state")
        try compileFrequency()
        let old = try SHA256.hexadecimal(ofFile: plugin)
        try succeed(score("--scorer", plugin, "--checkpoint", checkpoint))
        var scores = try SafetensorsFile(path: folder.file("scores"))
        let expected = try scores.doubles("scores")
        #expect(scores.metadata["scorer.sha256"] == old && scores.metadata["plugin.so.sha256"] == old)
        #expect(scores.metadata["scorer.other_builds"] == nil)
        // A slip was mended: another version, other bytes, the same counts.
        try compileFrequency("second", version: "1.0.1")
        for how in [["--checkpoint", checkpoint], ["--merge", checkpoint]] {
            let words = try run(builtProgram, score("--scorer", plugin) + how)
            #expect(
                words.errors.contains(
                    "\(checkpoint) was made by another build of frequency (1.0.0); this one is 1.0.1, with the same state "
                        + "version, and goes on from it"), "\(words.errors)")
            scores = try SafetensorsFile(path: folder.file("scores"))
            #expect(try scores.doubles("scores") == expected)
            #expect(scores.metadata["scorer.other_builds"] == "1.0.0 (plugin.so.sha256 \(old))")
        }
        try compileFrequency("third", version: "2.0.0", stateVersion: 2)
        try fail(
            score("--scorer", plugin, "--checkpoint", checkpoint),
            saying: "scorer frequency  state 1 there, frequency  state 2 here")
    }

    @Test(arguments: [[], ["--in-process"]]) func `a plugin says which of its other builds it goes on from`(
        more: [String]
    ) throws {
        let checkpoint = folder.file("state")
        try compileFrequency()
        let old = try SHA256.hexadecimal(ofFile: plugin)
        try succeed(score("--scorer", plugin, "--checkpoint", checkpoint) + more)
        try compileFrequency("second", version: "1.1.0", accepts: "v[2] == '0'")
        let words = try run(builtProgram, score("--scorer", plugin, "--merge", checkpoint) + more)
        #expect(words.status == 0 && !words.errors.contains("another build"), "\(words.errors)")
        try compileFrequency("third", version: "1.2.0", accepts: "v[2] == '1'")
        let now = try SHA256.hexadecimal(ofFile: plugin)
        try fail(
            score("--scorer", plugin, "--merge", checkpoint) + more,
            saying:
                "\(checkpoint) was made by another build of frequency 1.2.0 (sha256 \(old)), this one is \(now); go on with "
                + "what it was made with, name another file or folder, or delete it")
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

    // MARK: Shapes

    @Test func `outputs of pairs of latents and of tokens are written as such`() throws {
        try compile(
            "ActivationFrequency",
            [
                "    (void)self;\n    return 2;": "    (void)self;\n    return 4;",
                "    return index == 0 ?": """
                    static const dmsae_output pairs = {
                        sizeof pairs, DMSAE_OUTPUT_LATENT_PAIR, "pairs", "1", "Of two", 0, -1, -1};
                    static const dmsae_output tokens = {
                        sizeof tokens, DMSAE_OUTPUT_LATENT_TOKEN, "tokens", "1", "Of a token", 0, -1, -1};
                    return index == 2 ? &pairs : index == 3 ? &tokens : index == 0 ?
                """,
                "    for (int64_t j = 0; j < plan->latent_count; j++) {\n        /*": """
                    for (int64_t i = 0; i < plan->latent_count * plan->latent_count; i++) outputs[2][i] = (double)i;
                    for (int64_t i = 0; i < plan->latent_count * plan->token_count; i++) outputs[3][i] = (double)-i;
                    for (int64_t j = 0; j < plan->latent_count; j++) { /*
                """,
            ])
        let m = 8
        for more in [[], ["--in-process"]] {
            try succeed(score("--scorer", plugin) + more)
            let scores = try SafetensorsFile(path: folder.file("scores"))
            #expect(scores.tensors["pairs"]?.shape == [m, m] && scores.tensors["tokens"]?.shape == [m, 96])
            #expect(try scores.doubles("pairs") == (0..<m * m).map(Double.init))
            #expect(try scores.doubles("tokens") == (0..<m * 96).map { -Double($0) })
        }
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
