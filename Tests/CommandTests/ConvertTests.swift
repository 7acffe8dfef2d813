import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

@Suite struct ConvertTests {
    private let folder = TemporaryFolder()

    /// The latents [16, 128] that the program makes of the recorded inputs of a checkpoint.
    private func latents(_ sae: String, of name: String) throws -> Matrix {
        let io = try SafetensorsFile(path: fixture("dictionary_learning/\(name)/io.safetensors"))
        try write("x", try io.matrix("x"), to: folder.file("x"))
        try succeed(["encode", "--sae", sae, "--input", folder.file("x"), "--out", folder.file("f")])
        return try SafetensorsFile(path: folder.file("f")).matrix("latents")
    }

    @Test func `a checkpoint of dictionary_learning is used as it is, and converted is the same SAE`() throws {
        let source = fixture("dictionary_learning/matryoshka_batchtopk")
        let own = try latents(source, of: "matryoshka_batchtopk")
        let io = try SafetensorsFile(path: source + "/io.safetensors")
        // The recorded tolerance.
        checkClose(own.values, try io.matrix("encode.threshold").values, tolerance: 1e-5, "encode.threshold")
        let said = try succeed(["convert", source, folder.file("sae"), "--to", "saelens"])
        #expect(said.hasPrefix("128 latents of 32 dimensions, from dictionary_learning to saelens, written to "))
        #expect(said.contains("0 latents are active in one and not the other; activations differ by at most 0.0, "))
        #expect(try latents(folder.file("sae"), of: "matryoshka_batchtopk").values == own.values)
        let metadata = try JSONValue(contentsOf: folder.file("sae/cfg.json"))["metadata"]
        #expect(metadata?["hook_name"]?.string == "blocks.15.hook_resid_post")
        #expect(metadata?["training_architecture_details"]?["matryoshka_widths"]?.array?.count == 4)
    }

    @Test func `that a format keeps no prefixes is said`() throws {
        let copy = folder.file("nested")
        try succeed(["convert", fixture("saelens/topk"), copy, "--to", "saelens"])
        let details = "{\"training_architecture_details\": {\"matryoshka_widths\": [32, 128]}}"
        try AtomicFile.write(
            "{\"architecture\": \"topk\", \"k\": 8, \"metadata\": \(details)}", to: copy + "/cfg.json")
        let said = try succeed(["convert", copy, folder.file("flat"), "--to", "sparsify"])
        #expect(said.contains("prefixes 32, 128 are not kept, since the format has no place for them"), "\(said)")
    }

    @Test func `what cannot be converted is said before anything is written`() throws {
        let (jumpReLU, out) = (fixture("saelens/jumprelu_sub_b_dec"), folder.file("out"))
        try fail(
            ["convert", jumpReLU, out, "--to", "npz"],
            saying:
                "no SAE format is called \"npz\"; choose one of dictionary_learning, sparsify, saelens")
        try fail(
            ["convert", jumpReLU, out, "--to", "dictionary_learning"],
            saying:
                "dictionary_learning cannot hold this SAE: the number of latents that it was trained for is not known or not "
                + "whole; write it as saelens")
        try fail(
            ["convert", jumpReLU, out, "--to", "sparsify"],
            saying:
                "sparsify cannot hold this SAE: it selects by thresholds, and sparsify keeps the k largest of each input; "
                + "write it as saelens or dictionary_learning")
        for format in ["gemma_scope", "gemma_scope_2", "openai"] {
            try fail(
                ["convert", jumpReLU, out, "--to", format],
                saying: "\(format) cannot hold this SAE: it is read, and not written")
        }
        #expect(!isThere(out))
        try fail(["convert", folder.file("nothing"), out, "--to", "saelens"], saying: "cannot read ", "cfg.json")
    }
}
