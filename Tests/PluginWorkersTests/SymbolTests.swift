import Attribution
import Foundation
import LinearAlgebra
import PluginHost
import PluginTestSupport
import PluginWorkers
import TestSupport
import Testing

/// What a plugin defines is what it gets: this process and every worker have OpenBLAS, libm and libffi in them, whose
/// symbols are called the same.
struct SymbolTests {
    private let services = Services()
    private let folder = TemporaryFolder()
    private let batch = randomBatch(tokens: 30, latents: 40, dimensions: 16, perToken: 6)

    private func compile(_ source: String, _ name: String, _ flags: [String] = []) throws -> String {
        let path = folder.file(name + ".so")
        // No builtin, no inlining: each call goes by its name, as those between two files do.
        try compilePlugin(
            text: source, to: path, ["-fvisibility=default", "-fno-builtin", "-fno-inline"] + flags)
        return path
    }

    private func scorer(_ path: String, isIsolated: Bool) throws -> any AttributionScorer & LoadedPlugin {
        try PluginCatalog(executableFolder: "/nowhere").scorer(
            path, services: services.value,
            isolation: isIsolated ? PluginIsolation(executable: builtProgram, timeout: 20) : nil)
    }

    /// -factor·a⟨g, w⟩, summed as `dot` below does.
    private func expected(factor: Float) -> [Float] {
        var scores: [Float] = []
        for t in 0..<batch.codes.rows {
            for e in batch.codes.entries(ofRow: t) {
                var dot: Float = 0
                for i in 0..<batch.decoder.columns {
                    dot += batch.gradient[t, i] * batch.decoder[Int(batch.codes.columnIndices[e]), i]
                }
                scores.append(-(batch.codes.values[e] * (factor * dot)))
            }
        }
        return scores
    }

    /// The arguments of a loop over entries, and the loop; `call` is ⟨g, w⟩ or what it gives instead.
    private func loop(_ call: String, d: String = "d") -> String {
        """
        for (int64_t t = 0; t < n; t++)
            for (int64_t e = offsets[t]; e < offsets[t + 1]; e++)
                s[e] = -(f[e] * \(call));
        """
    }

    private let own = """
        #include <stdint.h>
        float sdot_(const int *n, const float *x, const int *dx, const float *y, const int *dy) {
            float sum = 0;
            for (int i = 0; i < *n; i++) sum += x[i * *dx] * y[i * *dy];
            return 2 * sum;
        }
        float cblas_sdot(int n, const float *x, int dx, const float *y, int dy) { return sdot_(&n, x, &dx, y, &dy); }
        double exp(double x) { return 2; }
        double exp2(double x) { return x; }
        int ffi_call(void) { return 1; }
        void *openblas_get_config(void) { return 0; }

        """

    private func function(_ call: String) -> String {
        own + """
            int32_t score(int64_t n, int32_t d, const int64_t *offsets, const int32_t *columns, const float *f, const float *w,
                          const float *g, float *s) {
                const int one = 1;
                \(loop(call))
                return 0;
            }
            """
    }

    private func plugin(_ call: String) -> String {
        "#include \"dmsae/single_scorer.h\"\n" + own + """
            static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *s, dmsae_call *c) {
                const int one = 1, d = (int)batch->decoder->shape[1];
                const int64_t n = batch->codes->rows, *offsets = batch->codes->row_offsets;
                const int32_t *columns = batch->codes->column_indices;
                const float *f = batch->codes->values, *w = batch->decoder->data, *g = batch->gradient->data;
                \(loop(call))
                return DMSAE_OK;
            }
            DMSAE_SINGLE_SCORER("symbols", "1", "MIT", "Its own dot", DMSAE_PLUGIN_NEEDS_GRADIENT, score)
            """
    }

    private static let calls = [
        "sdot_(&d, g + t * d, &one, w + (int64_t)columns[e] * d, &one)",
        "cblas_sdot(d, g + t * d, 1, w + (int64_t)columns[e] * d, 1)",
        "(float)(exp(0) * ffi_call()) * 0.5f * sdot_(&d, g + t * d, &one, w + (int64_t)columns[e] * d, &one)",
        "(openblas_get_config() ? 0 : 1) * sdot_(&d, g + t * d, &one, w + (int64_t)columns[e] * d, &one)",
    ]

    @Test(arguments: calls, [true, false]) func `a plain function calls its own functions`(
        call: String, isIsolated: Bool
    )
        throws
    {
        let path = try compile(function(call), "kernel")
        try """
        version: 1
        symbol: score
        args: ["tokens:i64", "dimension:i32", "row_offsets:i64*", "columns:i32*", "activations:f32*", "decoder:f32*", \
        "gradient:f32*", "scores:f32*"]
        returns: i32

        """.write(toFile: folder.file("kernel.yaml"), atomically: true, encoding: .utf8)
        #expect(try scorer(path, isIsolated: isIsolated).scores(batch) == expected(factor: 2))
    }

    @Test(arguments: calls, [true, false]) func `a plugin that hides nothing calls its own functions`(
        call: String, isIsolated: Bool
    ) throws {
        let path = try compile(plugin(call), "plugin")
        #expect(try scorer(path, isIsolated: isIsolated).scores(batch) == expected(factor: 2))
    }

    @Test(arguments: [true, false]) func `a plugin calls the library it is linked with and not one of the host`(
        isIsolated: Bool
    ) throws {
        // Without a DT_SONAME, as a compiler makes it.
        _ = try compile(own, "libown")
        let declared = """
            #include <stdint.h>
            float sdot_(const int *n, const float *x, const int *dx, const float *y, const int *dy);
            """
        let source = plugin(Self.calls[0]).replacing(own, with: declared)
        let path = try compile(source, "plugin", ["-L", folder.path, "-lown", "-Wl,-rpath,$ORIGIN"])
        let scorer = try scorer(path, isIsolated: isIsolated)
        #expect(try scorer.scores(batch) == expected(factor: 2))
        #expect(scorer.files.map(\.name) == ["plugin.so", "libown.so"])
    }

    @Test(arguments: [true, false]) func `a plugin that is linked with OpenBLAS has it`(isIsolated: Bool) throws {
        let declared = """
            #include <stdint.h>
            float cblas_sdot(int n, const float *x, int dx, const float *y, int dy);
            int openblas_get_num_threads(void);
            """
        let call = "(openblas_get_num_threads() == 1 ? 1 : 0) * \(Self.calls[1])"
        let path = try compile(plugin(call).replacing(own, with: declared), "plugin", ["-lopenblas"])
        // In this process, as commands prepare it, and in the worker: at one thread.
        try BLAS.prepare()
        let found = try scorer(path, isIsolated: isIsolated).scores(batch)
        checkClose(found, expected(factor: 1).map(Double.init), tolerance: 1e-5, "scores")
    }

    @Test(arguments: [true, false]) func `libc's own variables are the program's`(isIsolated: Bool) throws {
        let source = """
            #include "dmsae/single_scorer.h"
            #include <stdio.h>
            #include <stdlib.h>
            #include <errno.h>
            extern char **environ;
            static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *s, dmsae_call *c) {
                int entries = 0;
                for (char **e = environ; e && *e; e++) entries++;
                errno = 0;
                char *copy = strdup("freed by libc");
                free(copy);
                for (int64_t e = 0; e < batch->codes->count; e++)
                    s[e] = entries > 0 && getenv("PATH") && fprintf(stderr, "%s", "") == 0 && fileno(stdout) == 1;
                return DMSAE_OK;
            }
            DMSAE_SINGLE_SCORER("libc", "1", "MIT", "libc", 0, score)
            """
        let scores = try scorer(compile(source, "libc"), isIsolated: isIsolated).scores(batch)
        #expect(scores.allSatisfy { $0 == 1 })
    }

    @Test func `behind another allocator a plugin that would get another's symbol is refused`() throws {
        _ = try compile(
            "#include <stddef.h>\nvoid *__libc_malloc(size_t);\nvoid *malloc(size_t n) { return __libc_malloc(n); }",
            "alloc")
        for (name, source, says) in [
            ("taken", plugin(Self.calls[0]), "instead of its own, because another allocator"),
            (
                "hidden",
                plugin(Self.calls[0]).replacing(
                    own, with: "#pragma GCC visibility push(hidden)\n" + own + "\n#pragma GCC visibility pop\n"), ""
            ),
        ] {
            let path = try compile(source, name)
            let result = try run([
                "env", "LD_PRELOAD=\(folder.file("alloc.so"))", builtProgram, "plugin", "inspect", "--load", path,
            ])
            #expect(says.isEmpty ? result.status == 0 : result.status == 1, "\(result.output)")
            #expect(result.output.contains(says.isEmpty ? "symbols 1" : says), "\(result.output)")
        }
    }
}
