import Foundation
import TensorFiles
import TestSupport
import Testing

/// `score` with plugins that did not come with the program.
struct ForeignPluginTests {
    private let folder = TemporaryFolder()
    private var arguments: [String] {
        [
            "score", "--model", fixture("models/llama"), "--layer", "1", "--sae", folder.file("sae"), "--tokens",
            folder.file("ids"), "--out", folder.file("scores"), "--scorer", folder.file("plugin.so"),
        ]
    }

    init() throws {
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), to: folder.file("sae"))
        try write(ids: try golden.file.integers("input_ids"), shape: [4, 24], to: folder.file("ids"))
    }

    private func compile(_ source: String, to name: String) throws {
        try AtomicFile.write(source, to: folder.file(name + ".c"))
        let result = try run(
            "/usr/bin/env",
            [
                "cc", "-shared", "-fPIC", "-I", fixture("../../Include"), folder.file(name + ".c"), "-o",
                folder.file(name + ".so"),
            ])
        #expect(result.status == 0, "\(result.errors)")
    }

    /// A scorer whose function begins with `statement`, as `plugin.so`.
    private func compileScorer(_ statement: String) throws {
        try compile(
            """
            #include "dmsae/single_scorer.h"
            #include <stdio.h>
            #include <stdlib.h>
            #include <unistd.h>
            static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores,
                                      dmsae_call *call) {
                \(statement)
                for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = batch->codes->values[e];
                return DMSAE_OK;
            }
            DMSAE_SINGLE_SCORER("own", "1", "MIT", "The activation", 0, score)
            """, to: "plugin")
    }

    @Test(arguments: [["--in-process"], []]) func `what a plugin prints is not among the results`(more: [String]) throws
    {
        try compileScorer(#"printf("buffered"); if (write(1, "written\n", 8) != 8) abort();"#)
        let result = try run(builtProgram, arguments + ["--json"] + more)
        #expect(result.status == 0, "\(result.errors)")
        let report = try JSONValue(parsing: result.output)
        #expect(report["scored_tokens"]?.integer == 92)
        // In the program's own process it has somebody to read it.
        for words in ["buffered", "written"] { #expect(result.errors.contains(words) == !more.isEmpty) }
    }

    @Test func `a disk without room for what a plugin crashed on does not hide the crash`() throws {
        try compileScorer("abort();")
        // Stands for the disk: what is written below plugin-crash-1 finds no room.
        try compile(
            """
            #define _GNU_SOURCE
            #include <errno.h>
            #include <stdio.h>
            #include <string.h>
            #include <sys/syscall.h>
            #include <unistd.h>
            ssize_t write(int file, const void *bytes, size_t count) {
                char link[64], path[4096] = {0};
                snprintf(link, sizeof link, "/proc/self/fd/%d", file);
                if (readlink(link, path, sizeof path - 1) > 0 && strstr(path, "/plugin-crash-")) {
                    errno = ENOSPC;
                    return -1;
                }
                return syscall(SYS_write, file, bytes, count);
            }
            """, to: "full")
        var environment = startingEnvironment
        environment["LD_PRELOAD"] = folder.file("full.so")
        let result = try run(builtProgram, arguments, environment: environment)
        #expect(result.status == 1)
        #expect(result.errors.contains("plugin 'own' crashed (SIGABRT"), "\(result.errors)")
        #expect(
            result.errors.contains("could not be kept: cannot write") && result.errors.contains("No space left"),
            "\(result.errors)")
        #expect(!result.errors.contains("plugin replay") && !folder.names.contains("plugin-crash-1"))
        // With room it is kept, by the same program on the same call.
        let kept = try run(builtProgram, arguments)
        #expect(kept.errors.contains("plugin replay") && folder.names.contains("plugin-crash-1"))
    }
}
