import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// A GGUF model in several files.
@Suite struct ModelPartsTests {
    private let folder = TemporaryFolder()

    /// One block of random weights, d = 16.
    private func writer() -> GGUFWriter {
        var writer = GGUFWriter()
        writer.set("general.architecture", "llama")
        for (key, value) in [
            ("block_count", 1), ("embedding_length", 16), ("attention.head_count", 2), ("feed_forward_length", 24),
            ("context_length", 32), ("vocab_size", 40),
        ] { writer.set("llama." + key, value) }
        writer.set("llama.attention.layer_norm_rms_epsilon", Float(1e-5))
        writer.add("token_embd.weight", randomMatrix(40, 16, seed: 1))
        writer.add("output_norm.weight", randomMatrix(1, 16, seed: 2, from: 0.5, to: 1.5))
        for (name, rows, columns) in [
            ("attn_norm", 1, 16), ("attn_q", 16, 16), ("attn_k", 16, 16), ("attn_v", 16, 16), ("attn_output", 16, 16),
            ("ffn_norm", 1, 16), ("ffn_gate", 24, 16), ("ffn_up", 24, 16), ("ffn_down", 16, 24),
        ] { writer.add("blk.0.\(name).weight", randomMatrix(rows, columns, seed: 3)) }
        return writer
    }

    @Test func `any part stands for the model, and the hash of each is recorded`() throws {
        try write(ids: (0..<16).map { $0 * 2 }, shape: [1, 16], to: folder.file("ids"))
        try writer().write(to: folder.file("whole.gguf"))
        let parts = try writer().writeParts(3, to: folder.file("model"))
        func trace(_ model: String) throws -> SafetensorsFile {
            let words = [
                "--model", model, "--layer", "0", "--tokens", folder.file("ids"), "--out", folder.file("trace"),
            ]
            try succeed(["lm", "trace", "--quiet"] + words)
            return try SafetensorsFile(path: folder.file("trace"))
        }
        let whole = try trace(folder.file("whole.gguf")).matrix("activations").values
        for part in parts {
            let trace = try trace(part)
            #expect(try trace.matrix("activations").values == whole)
            for file in parts {
                let name = file.split(separator: "/").last!
                #expect(trace.metadata["model \(name).sha256"] == (try SHA256.hexadecimal(ofFile: file)))
            }
        }
        try fail(
            [
                "lm", "trace", "--model", parts[0], "--layer", "0", "--tokens", folder.file("ids"), "--out", parts[2],
            ], saying: "\(parts[2]): it is read by this command, and would be replaced")
    }
}
