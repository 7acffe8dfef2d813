import TensorFiles
import TestSupport
import Testing

/// `lm trace` on a small Llama model against PyTorch: 2e-5 of the largest element forward, 1e-4 for gradients (single
/// precision through three blocks). Golden gradients are of the mean over B(T−1) losses, ours of the sum.
@Suite struct TraceTests {
    private let folder = TemporaryFolder()
    private let golden: Golden
    private let meanFactor: Float = 1 / 30

    init() throws {
        golden = try Golden("models/llama/io.safetensors")
        try write(ids: try golden.file.integers("input_ids"), shape: [2, 16], to: folder.file("ids"))
    }

    private func trace(_ layer: Int, _ more: String...) throws -> SafetensorsFile {
        try succeed(
            ["lm", "trace", "--model", fixture("models/llama"), "--layer", "\(layer)", "--tokens", folder.file("ids")]
                + ["--out", folder.file("trace")] + more)
        return try SafetensorsFile(path: folder.file("trace"))
    }

    @Test(arguments: [0, 1, 2]) func activationsLossesAndGradientsMatchAtEveryLayer(_ layer: Int) throws {
        let trace = try trace(layer)
        #expect(Set(trace.tensors.keys) == ["activations", "loss", "gradient"])
        try trace.require("activations", shape: [2, 16, 48])
        try trace.require("loss", shape: [2, 15])
        try trace.require("gradient", shape: [2, 16, 48])
        try golden.check("resid.\(layer)", try trace.matrix("activations").values, tolerance: 2e-5)
        try golden.check("loss_per_token", try trace.matrix("loss").values, tolerance: 2e-5)
        let gradient = try trace.matrix("gradient").values.map { $0 * meanFactor }
        try golden.check("grad.\(layer)", gradient, tolerance: 1e-4)
    }

    @Test func logitsAreWrittenOnRequest() throws {
        let trace = try trace(1, "--logits")
        try trace.require("logits", shape: [2, 16, 320])
        try golden.check("logits", try trace.matrix("logits").values, tolerance: 2e-5)
    }

    @Test func aReplacedStreamGivesItsOwnLossesAndGradients() throws {
        try write("activations", try golden.matrix("splice.x"), shape: [2, 16, 48], to: folder.file("x"))
        let trace = try trace(Int(try golden.file.integers("splice.layer")[0]), "--replace", folder.file("x"))
        #expect(try trace.matrix("activations").values == (try golden.matrix("splice.x")).values)
        try golden.check("splice.loss_per_token", try trace.matrix("loss").values, tolerance: 2e-5)
        let gradient = try trace.matrix("gradient").values.map { $0 * meanFactor }
        try golden.check("splice.grad", gradient, tolerance: 1e-4)
    }

    @Test func aRowIsTracedAlikeWhateverStandsBesideIt() throws {
        let ids = try golden.file.integers("input_ids")
        // Nineteen rows go through the model in three parts; the last is the golden's second row.
        let many = (0..<18).flatMap { shift in ids[..<16].map { ($0 + shift) % 320 } } + ids[16...]
        try write(ids: many, shape: [19, 16], to: folder.file("ids"))
        let trace = try trace(1)
        try trace.require("loss", shape: [19, 15])
        for (name, expected, tolerance) in [
            ("activations", "resid.1", 2e-5), ("loss", "loss_per_token", 2e-5), ("gradient", "grad.1", 1e-4),
        ] {
            let wanted = try golden.expected(expected)
            let found = try trace.matrix(name).values.suffix(wanted.count / 2)
            let scale = name == "gradient" ? meanFactor : 1
            checkClose(found.map { $0 * scale }, Array(wanted.suffix(wanted.count / 2)), tolerance: tolerance, name)
        }
    }

    @Test func theSummaryIsTheMeanLossInWordsAndInJSON() throws {
        let arguments = [
            "lm", "trace", "--model", fixture("models/llama"), "--layer", "1", "--tokens", folder.file("ids"), "--out",
            folder.file("o"),
        ]
        let mean = try golden.number("loss_mean")
        let json = try JSONValue(parsing: try succeed(arguments + ["--json"]))
        #expect(json["sequences"]?.integer == 2 && json["length"]?.integer == 16)
        #expect(abs((json["loss_mean"]?.double ?? 0) - mean) < 2e-5 * mean)
        let words = try succeed(arguments)
        #expect(words.hasPrefix("2 × 16 tokens, mean loss "), "\(words)")
        let own = try SafetensorsFile(path: folder.file("o")).metadata
        #expect(own["layer"] == "1" && own["model config.json.sha256"]?.count == 64)
        #expect(own["tokens.sha256"] == (try SHA256.hexadecimal(ofFile: folder.file("ids"))))
    }
}

@Suite struct TokenizeTests {
    @Test func textBecomesRowsOfIdsThatTraceReads() throws {
        let tiny = try TinyModel()
        let out = tiny.folder.file("ids")
        let words = try succeed([
            "lm", "tokenize", "--model", tiny.model, "--text", tiny.text, "--out", out, "--context", "32", "--rows",
            "3",
        ])
        #expect(words == "3 rows of 32 tokens written to \(out)\n")
        let ids = try SafetensorsFile(path: out)
        try ids.require("input_ids", shape: [3, 32])
        #expect(try ids.integers("input_ids").allSatisfy { (0..<320).contains($0) })
        #expect(ids.metadata["text.sha256"] == (try SHA256.hexadecimal(ofFile: tiny.text)))
        #expect(
            ids.metadata["model tokenizer.json.sha256"]
                == (try SHA256.hexadecimal(ofFile: tiny.model + "/tokenizer.json")))
        #expect(ids.metadata["model model.safetensors.sha256"] == nil)
        #expect(
            ids.metadata["context"] == "32" && ids.metadata["skip"] == "0" && ids.metadata["skip_bad_lines"] == "false")
        // The rows are the text's own tokens in order, documents joined by token 0.
        let all = try succeed(["lm", "tokenize", "--model", tiny.model, "--text", tiny.text, "--json"])
        let whole = try #require(try JSONValue(parsing: all)["input_ids"]?.array).compactMap(\.integer)
        let first = try ids.integers("input_ids").prefix { $0 != 0 }.map { Int($0) }
        #expect(first.count > 20 && Array(whole.prefix(first.count)) == first)
        // The older name, which scripts may still use.
        let same = tiny.folder.file("same")
        try succeed([
            "lm", "tokenize", "--model", tiny.model, "--text", tiny.text, "--out", same, "--length", "32", "--rows",
            "3",
        ])
        #expect(contents(of: same) == contents(of: out))
        try succeed([
            "lm", "trace", "--model", tiny.model, "--layer", "0", "--tokens", out, "--out", tiny.folder.file("trace"),
        ])
    }
}
