import Attribution
import Foundation
import PluginHost
import PluginTestSupport
import PluginWorkers
import TestSupport
import Testing

/// Plain functions as scorers, called through libffi by what a YAML file says of them.
struct PlainFunctionTests {
    let services = Services()
    let folder = TemporaryFolder()

    private let c = """
        #include <stdint.h>
        int32_t score(int64_t tokens, int32_t dimension, const int64_t *row_offsets, const int32_t *columns, const float *f,
                      const float *decoder, const float *gradient, float *scores) {
            for (int64_t t = 0; t < tokens; t++)
                for (int64_t e = row_offsets[t]; e < row_offsets[t + 1]; e++) {
                    double dot = 0;
                    for (int32_t i = 0; i < dimension; i++)
                        dot += (double)gradient[t * dimension + i] * (double)decoder[(int64_t)columns[e] * dimension + i];
                    scores[e] = (float)(-(double)f[e] * dot);
                }
            return 0;
        }
        """
    private let args =
        #""tokens:i64", "dimension:i32", "row_offsets:i64*", "columns:i32*", "activations:f32*", "decoder:f32*", "gradient:f32*", "scores:f32*""#

    /// Writes and builds a function; returns the path of its shared object.
    private func function(_ source: String, _ yaml: String) throws -> String {
        let name = UUID().uuidString
        try yaml.write(toFile: folder.file(name + ".yaml"), atomically: true, encoding: .utf8)
        try compilePlugin(text: source, to: folder.file(name + ".so"), ["-fvisibility=default"])
        return folder.file(name + ".so")
    }

    private func yaml(_ args: String, symbol: String = "score", returns: String = "i32", version: Int = 1) -> String {
        "version: \(version)\nsymbol: \(symbol)\nargs: [\(args)]\nreturns: \(returns)\n"
    }

    private func scorer(_ reference: String, isIsolated: Bool = true) throws -> any AttributionScorer & LoadedPlugin {
        try PluginCatalog(executableFolder: "/nowhere").scorer(
            reference, services: services.value,
            isolation: isIsolated ? PluginIsolation(executable: builtProgram, timeout: 5) : nil)
    }

    /// -a⟨g, w⟩ in the same order of operations.
    private func expected(_ batch: ScoringBatch) -> [Float] {
        var scores = [Float](repeating: 0, count: batch.codes.count)
        for t in 0..<batch.codes.rows {
            for e in batch.codes.entries(ofRow: t) {
                var dot = 0.0
                for i in 0..<batch.decoder.columns {
                    dot += Double(batch.gradient[t, i]) * Double(batch.decoder[Int(batch.codes.columnIndices[e]), i])
                }
                scores[e] = Float(-Double(batch.codes.values[e]) * dot)
            }
        }
        return scores
    }

    // 8 arguments: two more than there are registers for.
    @Test(arguments: [true, false]) func `a C function scores as the definition says`(isIsolated: Bool) throws {
        let path = try function(c, yaml(args))
        let batch = randomBatch(tokens: 30, latents: 40, dimensions: 16, perToken: 6)
        for reference in [path, path + ":score"] {
            let scorer = try scorer(reference, isIsolated: isIsolated)
            // Products of floats are exact in Double; both sum in the same order.
            #expect(try scorer.scores(batch) == expected(batch))
            #expect(scorer.name == "score" && scorer.scoresTokens)
        }
    }

    @Test func `a Fortran subroutine takes everything by reference and returns nothing`() throws {
        // What gfortran makes of: subroutine score(n, d, offsets, columns, f, w, g, s) with integer(8) n, integer(4) d.
        let source =
            c.replacing(
                "int32_t score(int64_t tokens, int32_t dimension,",
                with: "static int32_t inner(int64_t tokens, int32_t dimension,") + """

                void score_(const int64_t *n, const int32_t *d, const int64_t *offsets, const int32_t *columns, const float *f,
                            const float *w, const float *g, float *s) { inner(*n, *d, offsets, columns, f, w, g, s); }
                """
        let path = try function(
            source,
            yaml(
                args.replacing("tokens:i64", with: "tokens:i64*").replacing("dimension:i32", with: "dimension:i32*"),
                symbol: "score_", returns: "void"))
        let batch = randomBatch(tokens: 30, latents: 40, dimensions: 16, perToken: 6)
        #expect(try scorer(path).scores(batch) == expected(batch))
    }

    private let settingSource = """
        #include <stdint.h>
        int32_t score(int64_t entries, const float *f, double alpha, const int64_t *steps, float *scores) {
            for (int64_t e = 0; e < entries; e++) scores[e] = (float)(alpha * f[e] + (double)*steps);
            return 0;
        }
        """
    private let settingArgs = #""entries:i64", "activations:f32*", "alpha:f64", "steps:i64*", "scores:f32*""#

    @Test(arguments: [true, false]) func `settings reach a function, by value and by reference`(isIsolated: Bool) throws
    {
        let path = try function(settingSource, yaml(settingArgs) + "parameters: {alpha: 0.5, steps: 3}\n")
        let batch = randomBatch(tokens: 20, latents: 30, dimensions: 4, perToken: 5)
        let f = (0..<batch.codes.count).map { Double(batch.codes.values[$0]) }
        for (settings, alpha, steps) in [("", 0.5, 3.0), (",alpha=-2", -2, 3), (",steps=7,alpha=1e-1", 0.1, 7)] {
            let scorer = try scorer(path + settings, isIsolated: isIsolated)
            #expect(try scorer.scores(batch) == f.map { Float(alpha * $0 + steps) })
            #expect(scorer.parameters.map(\.key) == ["alpha", "steps"])
        }
        #expect(message { _ = try scorer(path + ",steps=1.5", isIsolated: isIsolated) }.contains("a whole number"))
        #expect(message { _ = try scorer(path + ",alhpa=1", isIsolated: isIsolated) }.contains("did you mean 'alpha'"))
    }

    @Test(arguments: [
        ("{alpha: 0.5}", "argument 'steps:i64*': there is no 'steps'"),
        ("{alpha: x, steps: 3}", "the default of parameter 'alpha' is 'x', which is not a number"),
        ("{alpha: 0.5, steps: 3.5}", "the default of parameter 'steps' is '3.5', which is not a whole number"),
        ("{alpha: 0.5, steps: 3, tau: 1}", "parameter 'tau' must be among the args"),
        ("{alpha: 0.5, steps: 3, scores: 1}", "parameter 'scores' must be among the args, of one type, and not one of"),
        ("[alpha]", "parameters is a list; write parameters: {alpha: 0.5}"),
    ])
    func `settings that are described wrongly`(parameters: String, part: String) throws {
        let text = message {
            _ = try scorer(try function(settingSource, yaml(settingArgs) + "parameters: \(parameters)\n"))
        }
        #expect(text.contains(part), "\(text)")
    }

    @Test func `every quantity arrives`() throws {
        let source = """
            #include <stdint.h>
            int32_t score(int64_t tokens, int64_t latents, int64_t dimension, int64_t entries, int64_t sequences,
                          const float *bias, const float *x, const float *xhat, const float *loss, const int32_t *ids,
                          const int64_t *starts, const uint8_t *scored, float *scores) {
                for (int64_t e = 0; e < entries; e++) scores[e] = 0;
                scores[0] = tokens; scores[1] = latents; scores[2] = dimension; scores[3] = sequences; scores[4] = bias[1];
                scores[5] = x[tokens * dimension - 1]; scores[6] = xhat[3]; scores[7] = loss[1]; scores[8] = ids[5];
                scores[9] = starts[1]; scores[10] = scored[1];
                return 0;
            }
            """
        let path = try function(
            source,
            yaml(
                #""tokens:i64", "latents:i64", "dimension:i64", "entries:i64", "sequences:i64", "decoder_bias:f32*", "residual:f32*", "reconstruction:f32*", "loss:f32*", "token_ids:i32*", "sequence_offsets:i64*", "scored:u8*", "scores:f32*""#
            ))
        let batch = randomBatch(tokens: 20, latents: 30, dimensions: 4, perToken: 5)
        let found = try scorer(path).scores(batch)
        #expect(
            Array(found[..<11]) == [
                20, 30, 4, 2, batch.decoderBias[1], batch.residual[79], batch.reconstruction[3], 2, 5, 10, 1,
            ])
    }

    @Test func `what goes wrong in it is found or stays in its process`() throws {
        let batch = randomBatch(tokens: 20, latents: 30, dimensions: 4, perToken: 5)
        for (body, part) in [
            ("return 7;", "plain function 'score' failed with code 7, which"),
            ("return 1;", "failed with code 1, which"), ("return 0;", "unwritten"),
            ("s[0] = 0.0f / 0.0f; return 0;", "unwritten"),
            ("*(volatile int *)8 = 1; return 0;", "SIGSEGV"), ("s[n] = 1; return 0;", "SIGSEGV"),
            ("for (;;) {}", "no sign of life"),
        ] {
            let path = try function(
                "#include <stdint.h>\nint32_t score(int64_t n, float *s) { \(body) }\n",
                yaml(#""entries:i64", "scores:f32*""#))
            let text = message { _ = try scorer(path).scores(batch) }
            let isOverrun = body.hasPrefix("s[n]")
            #expect(text.contains(part) || (isOverrun && text.contains("unwritten")), "\(body): \(text)")
        }
    }

    @Test func `a wrong signature is refused with the offending text`() throws {
        for (text, part) in [
            (yaml(args, version: 2), "version is 2"), (yaml(args, returns: "f64"), "returns is 'f64'"),
            (yaml(#""scores:f64*""#), "'scores:f64*': write scores:f32*"), (yaml(#""tokens:i64""#), "scores, where"),
            (yaml(#""scores:f32*", "scores:f32*""#), "once"),
            (yaml(#""tokens:f32", "scores:f32*""#), "tokens is a number"),
            (yaml(#""token:i64", "scores:f32*""#), "perhaps 'tokens'"),
            (yaml(#""tokens", "scores:f32*""#), "tokens is a number"),
            (yaml("\"entries:i64"), "it is not YAML: line "),
            ("symbol: s", "version is missing; write version: 1"),
            ("version: 1.5\nsymbol: s", "version is '1.5'; write version: 1"),
            ("version: 1\nsymbol: [s]", "symbol is a list; write symbol: score"),
            ("version: 1\nsymbol: s\nargs: scores:f32*", "args is 'scores:f32*'; write args: ["),
            ("version: 1\nversion: 1", "version is there twice"), ("score", "it is not a list of keys and values"),
            (yaml("1"), "argument '1': there is no '1'"),
            (yaml(args) + "return: 1", "there is no key 'return', perhaps 'returns'"),
            (yaml(args, symbol: "nothing"), "exports no symbol 'nothing'"),
            (yaml(""), "0 args"),
        ] {
            let path = try function(c, text)
            let message = message { _ = try scorer(path) }
            #expect(message.contains(part) && !message.contains("Error"), "\(message)")
        }
        let path = try function(c, yaml(args))
        #expect(message { _ = try scorer(path + ":other") }.contains("'other' was asked for"))
        #expect(message { _ = try scorer(path + ",alpha=1") }.contains("unknown parameter 'alpha'"))
    }

    /// As they were written for earlier versions.
    @Test func `a description in TOML is refused, with what to write instead`() throws {
        let path = try function(c, yaml(args))
        let old = path.dropLast(2) + "toml", new = path.dropLast(2) + "yaml"
        unlink("\(new)")
        try "version = 1\nsymbol = \"score\"\n".write(toFile: "\(old)", atomically: true, encoding: .utf8)
        #expect(
            message { _ = try scorer(path) }
                == "\(old) describes a plain function as earlier versions of dmsae read it; write the same into \(new), KEY = VALUE "
                + "as KEY: VALUE, and delete it")
    }
}
