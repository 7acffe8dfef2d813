import Attribution
import Foundation
import PluginHost
import PluginTestSupport
import PluginWorkers
import TensorFiles
import TestSupport
import Testing

/// A plugin is the bytes that were read when it was loaded, whatever becomes of the file.
struct PluginFileTests {
    private let services = Services()
    private let folder = TemporaryFolder()
    private let batch = randomBatch(tokens: 20, latents: 30, dimensions: 8, perToken: 4)

    /// A scorer that writes `value` everywhere, with `statement` before it.
    private func source(_ value: String, _ statement: String = "") -> String {
        """
        #define _GNU_SOURCE
        #include "dmsae/single_scorer.h"
        #include <dlfcn.h>
        #include <signal.h>
        #include <stdio.h>
        #include <unistd.h>
        static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *s, dmsae_call *call) {
            \(statement)
            for (int64_t e = 0; e < batch->codes->count; e++) s[e] = \(value);
            return DMSAE_OK;
        }
        DMSAE_SINGLE_SCORER("value", "1", "MIT", "A value", 0, score)
        """
    }

    private func compile(_ source: String, to path: String, _ flags: [String] = []) throws {
        try compilePlugin(text: source, to: path, ["-fvisibility=default"] + flags)
    }

    private func scorer(_ path: String, isIsolated: Bool = true) throws -> any AttributionScorer & LoadedPlugin {
        try PluginCatalog(executableFolder: "/nowhere").scorer(
            path, services: services.value,
            isolation: isIsolated ? PluginIsolation(executable: builtProgram, timeout: 20) : nil)
    }

    /// Dies at the second call of a process.
    private let mortal = "static int calls; if (++calls > 1) raise(SIGKILL);"

    @Test(arguments: ["mv", "cp"], [true, false]) func `a file replaced while it runs changes nothing`(
        how: String, isIsolated: Bool
    ) throws {
        let path = folder.file("plugin.so"), other = folder.file("other.so")
        try compile(source("1", isIsolated ? mortal : ""), to: path)
        try compile(source("2"), to: other)
        let hash = try SHA256.hexadecimal(ofFile: path)
        let scorer = try scorer(path, isIsolated: isIsolated)
        #expect(try scorer.scores(batch).allSatisfy { $0 == 1 })
        #expect(try run([how, other, path]).status == 0)
        // In a worker the second call ends it, and a fresh one makes it again.
        for _ in 0..<2 { #expect(try scorer.scores(batch).allSatisfy { $0 == 1 }) }
        #expect(scorer.sha256 == hash && scorer.files.map(\.name) == ["plugin.so"])
        // Who loads it now gets the new one, here too.
        let anew = try self.scorer(path, isIsolated: isIsolated)
        #expect(try anew.scores(batch).allSatisfy { $0 == 2 })
        #expect(anew.sha256 != hash)
    }

    @Test(arguments: [true, false]) func `libraries beside a plugin are found, kept and recorded`(isIsolated: Bool)
        throws
    {
        let tree = folder.file("tree")
        for part in ["/plugins", "/lib", "/deep"] {
            try FileManager.default.createDirectory(atPath: tree + part, withIntermediateDirectories: true)
        }
        try compile("int deepest(void) { return 1; }", to: tree + "/deep/libdeepest.so", ["-Wl,-soname,libdeepest.so"])
        let calling = "int deepest(void);\nint inner(void) { return deepest(); }"
        try compile(
            calling, to: tree + "/lib/libinner.so", ["-L", tree + "/deep", "-ldeepest", "-Wl,-rpath,$ORIGIN/../deep"])
        let path = tree + "/plugins/plugin.so"
        try compile(
            source("inner()", isIsolated ? mortal : "").replacing(
                "static dmsae_status", with: "int inner(void);\nstatic dmsae_status"),
            to: path, ["-L", tree + "/lib", "-linner", "-Wl,-rpath,${ORIGIN}/../lib"])
        let scorer = try scorer(path, isIsolated: isIsolated)
        #expect(try scorer.scores(batch).allSatisfy { $0 == 1 })
        #expect(scorer.files.map(\.name) == ["plugin.so", "libdeepest.so", "libinner.so"])
        try compile("int deepest(void) { return 2; }", to: tree + "/deep/libdeepest.so")
        for _ in 0..<2 { #expect(try scorer.scores(batch).allSatisfy { $0 == 1 }) }
        // Another build of any of them is another plugin. (In this process the loader has a library
        // of that name already.)
        if isIsolated {
            let anew = try self.scorer(path)
            #expect(try anew.scores(batch).allSatisfy { $0 == 2 })
            #expect(anew.sha256 == scorer.sha256 && anew.files != scorer.files)
        }
    }

    @Test func `a library that is missing is named, and the file by its own name`() throws {
        try compile("int inner(void) { return 1; }", to: folder.file("libinner.so"))
        let path = folder.file("plugin.so")
        try compile(
            source("inner()").replacing("static dmsae_status", with: "int inner(void);\nstatic dmsae_status"), to: path,
            ["-L", folder.path, "-linner", "-Wl,-rpath,$ORIGIN"])
        unlink(folder.file("libinner.so"))
        for isIsolated in [true, false] {
            do {
                _ = try scorer(path, isIsolated: isIsolated)
                Issue.record("it loaded")
            } catch {
                #expect("\(error)".contains("libinner.so: cannot open shared object file"))
                #expect("\(error)".contains(path) && !"\(error)".contains("/proc/self/fd"))
            }
        }
    }

    @Test(arguments: [true, false]) func `a plugin finds itself where its file is`(isIsolated: Bool) throws {
        let path = folder.file("plugin.so")
        let ask = """
            Dl_info info;
            int mine = dladdr((void *)score, &info) && strcmp(info.dli_fname, "\(path)") == 0
                && dlopen("\(path)", RTLD_NOW | RTLD_NOLOAD) != 0;
            """
        try compile(source("mine", ask), to: path)
        #expect(try scorer(path, isIsolated: isIsolated).scores(batch).allSatisfy { $0 == 1 })
    }

    // MARK: The process it is in

    @Test func `a working folder and a mask changed in this process are put back`() throws {
        let path = folder.file("plugin.so")
        try compile(
            source("1", "if (chdir(\"/\") != 0) return DMSAE_ERR_FAILED; umask(0777);").replacing(
                "#include <unistd.h>", with: "#include <unistd.h>\n#include <sys/stat.h>"), to: path)
        let before = FileManager.default.currentDirectoryPath
        _ = try scorer(path, isIsolated: false).scores(batch)
        let mask = umask(0o022)
        umask(mask)
        #expect(FileManager.default.currentDirectoryPath == before && mask & 0o700 == 0)
    }

    // MARK: What fails

    @Test func `what a call that failed wrote to standard error is told, and nothing of the calls before`() throws {
        let path = folder.file("plugin.so")
        try compile(
            source(
                "1",
                """
                static int calls;
                fprintf(stderr, "call %d\\nof \\033[2J\\n", ++calls);
                if (calls == 2) return DMSAE_ERR_FAILED;
                if (calls == 3) s = 0;
                """
            ).replacing("s[e] =", with: "if (s) s[e] ="), to: path)
        let scorer = try scorer(path)
        _ = try scorer.scores(batch)
        let text = message { _ = try scorer.scores(batch) }
        #expect(
            text
                == "score of plugin 'value' failed (DMSAE_ERR_FAILED): it gave no reason; the plugin is \(path); to standard "
                + "error it wrote: call 2 | of \\u{1B}[2J")
        let unwritten = message { _ = try scorer.scores(batch) }
        #expect(unwritten.contains("unwritten") && unwritten.hasSuffix("it wrote: call 3 | of \\u{1B}[2J"))
    }

    @Test func `texts of a plugin are fit for a terminal`() throws {
        let path = folder.file("plugin.so")
        try compile(
            source("1").replacing(
                #""value", "1", "MIT", "A value""#, with: #""value", "1\033[2J", "MIT\007", "A\r value\033]0;x\007""#),
            to: path)
        let list = PluginCatalog(executableFolder: "/nowhere", searchPath: [folder.path]).list(services: services.value)
        let plugin = try #require(list.last)
        #expect(plugin.version == "1\\u{1B}[2J" && plugin.description == "A\\r value\\u{1B}]0;x\\u{07}")
        #expect(try scorer(path).version == "1\\u{1B}[2J")
        try compile(
            source("1").replacing(#""A value""#, with: "LONG").replacing(
                "#include <dlfcn.h>",
                with:
                    "#include <dlfcn.h>\n#define T \"0123456789abcdef\"\n#define U T T T T T T T T T T T T T T T T\n#define LONG U U U U U U U U U U U U U U U U U"
            ), to: path)
        #expect(message { _ = try scorer(path) }.contains("its description is longer than 4096 bytes"))
    }

    @Test func `a path may hold commas`() throws {
        let path = folder.file("a,b=c,d.so")
        try compile(source("1"), to: path)
        #expect(try scorer(path).path == path)
        #expect(try scorer(path + ":value").path == path)
        #expect(message { _ = try scorer(path + ",alpha=1") }.contains("alpha"))
        #expect(
            message { _ = try scorer(folder.file("x,y.so")) }
                == "plugin reference '\(folder.file("x,y.so"))': 'y.so' has no '=', and there is no file of that name with its "
                + "commas; write NAME, PATH.so, PATH.py or PATH.so:ID, then ,KEY=VALUE for each parameter")
    }

    // MARK: Environment

    @Test func `a worker has what decides about numbers, and no secrets`() async throws {
        let path = folder.file("plugin.so")
        let names = [
            "OMP_NUM_THREADS", "GLIBC_TUNABLES", "OPENBLAS_CORETYPE", "MKL_NUM_THREADS", "PYTHONPATH", "LC_NUMERIC",
            "DMSAE_X",
            "OWN_SETTING",
        ]
        let secrets = ["AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "DMSAE_API_TOKEN", "DATABASE_URL", "OTHER_SETTING"]
        let checks = (names.map { "!!getenv(\"\($0)\")" } + secrets.map { "!getenv(\"\($0)\")" }).enumerated()
            .map { "if (!(\($1))) return \($0) + 100;" }.joined(separator: "\n")
        try compile(source("1", checks).replacing("#include <dlfcn.h>", with: "#include <stdlib.h>"), to: path)
        let values = Dictionary(uniqueKeysWithValues: (names + secrets).map { ($0, "1") }).merging([
            "LC_NUMERIC": "C", "GLIBC_TUNABLES": "glibc.malloc.arena_max=4", "OPENBLAS_CORETYPE": "Haswell",
        ]) { $1 }
        // In a process of its own: whoever reads the environment while it grows reads freed memory.
        await #expect(processExitsWith: .success) { [path = path as String, values = values as [String: String]] in
            for (name, value) in values { setenv(name, value, 1) }
            let services = Services(), batch = randomBatch(tokens: 20, latents: 30, dimensions: 8, perToken: 4)
            var isolation = PluginIsolation(executable: builtProgram, timeout: 20)
            isolation.environment = ["OWN_SETTING"]
            func scorer() throws -> any AttributionScorer {
                try PluginCatalog(executableFolder: "/nowhere").scorer(
                    path, services: services.value, isolation: isolation)
            }
            let scores = try scorer().scores(batch)
            #expect(scores.allSatisfy { $0 == 1 })
            isolation.environment = ["NOT_SET_AT_ALL"]
            #expect(
                message { _ = try scorer() }
                    == "the environment has no variable 'NOT_SET_AT_ALL' to pass on to plugins; set it, or leave --plugin-env "
                    + "NOT_SET_AT_ALL out")
        }
    }
}
