import LinearAlgebra
import SAEFormats
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// A folder that sparsify wrote, against what its coder makes of sixteen inputs.
@Suite struct SparsifyTests {
    private let folder = TemporaryFolder()
    private let source = fixture("sparsify/layers.15")

    @Test func `encodings and reconstructions are those of the library`() throws {
        #expect(SAEFormats.format(of: source).name == "sparsify")
        let (sae, provenance) = try SAEFormats.read(source)
        #expect(sae.rowTopK == 8 && provenance.layer == 15)
        try checkRecorded(sae, source + "/io.safetensors")
        #expect(try SAEFormats.read(source + "/sae.safetensors").sae.encoder.values == sae.encoder.values)
    }

    @Test func `what is written is read again, as the same SAE`() throws {
        let (sae, provenance) = try SAEFormats.read(source)
        try Sparsify().write(sae, provenance, to: folder.file("layers.15"))
        let (again, from) = try SAEFormats.read(folder.file("layers.15"))
        #expect(again.encoder.values == sae.encoder.values && again.decoder.values == sae.decoder.values)
        #expect(
            again.encoderBias.values == sae.encoderBias.values && again.decoderBias.values == sae.decoderBias.values)
        #expect(again.inference == sae.inference && from.layer == 15)
    }

    @Test func `what the format cannot hold is refused with the reason`() throws {
        let (sae, provenance) = try SAEFormats.read(fixture("dictionary_learning/batchtopk"))
        #expect(throws: SAEFormatError.self) { try Sparsify().write(sae, provenance, to: folder.file("sae")) }
        #expect(!exists(folder.file("sae")))
    }

    private func says(_ change: (String) -> String, hook: String = "layers.15") throws -> String {
        let text = String(decoding: contents(of: source + "/cfg.json"), as: UTF8.self)
        let path = folder.file(hook)
        try createFolder(path)
        try AtomicFile.write(contents(of: source + "/sae.safetensors"), to: path + "/sae.safetensors")
        try AtomicFile.write(change(text), to: path + "/cfg.json")
        do {
            _ = try SAEFormats.read(path)
            return "nothing"
        } catch { return "\(error)" }
    }

    @Test(arguments: [
        ("\"topk\"", "\"groupmax\"", "activation is \"groupmax\"; of groupmax each group of latents keeps its largest"),
        ("\"transcode\": false", "\"transcode\": true", "transcode is true; a transcoder rebuilds another place"),
        (
            "\"skip_connection\": false", "\"skip_connection\": true",
            "skip_connection is true; what the skip connection adds"
        ),
        ("\"k\": 8", "\"k\": 8, \"signed\": true", "signed is true; it keeps latents by the size of negative values"),
        ("\"k\": 8", "\"k\": 129", "its k is 129, and it has 128 latents; correct cfg.json"),
        ("\"k\": 8", "\"k\": 0", "k is 0; write how many latents fire"),
        ("\"k\": 8", "\"k\": 8, \"threshold\": 2", "threshold is 2; this key is not known here"),
        ("\"d_in\": 32", "\"d_in\": 33", "d_in is 33; the weights have 32"),
        ("\"expansion_factor\": 4", "\"expansion_factor\": 5", "num_latents is 0; the weights have 128"),
        ("\"num_latents\": 0", "\"num_latents\": 64", "num_latents is 64; the weights have 128"),
    ]) func `what makes another function, and files that contradict each other, are refused by name`(
        _ old: String, _ new: String, _ wanted: String
    ) throws {
        let found = try says { text in
            #expect(text.contains(old), "\(old)")
            return text.replacing(old, with: new)
        }
        #expect(found.contains(wanted), "\(found)")
    }

    @Test func `another place in the model is told by the name of the folder`() throws {
        #expect(try says({ $0 }, hook: "layers.3") == "nothing")
        #expect(try says({ $0 }, hook: "mine") == "nothing")
        #expect(
            try says({ $0 }, hook: "layers.3.mlp").contains("its hook is layers.3.mlp; only the residual stream after"))
    }
}

/// Codes and reconstructions of the recorded inputs: 1e-5 absolute, ten times what the libraries' float32 differs from float64; which
/// latents are active must agree exactly.
func checkRecorded(_ sae: SparseAutoencoder, _ path: String) throws {
    let io = try SafetensorsFile(path: path)
    let codes = SparseCodes()
    try SparseEncoder().encode(try io.matrix("x"), with: sae, into: codes)
    let (dense, wanted) = (codes.dense(), try io.matrix("encode"))
    #expect(codes.count > 50 && (0..<dense.count).allSatisfy { (dense[$0] > 0) == (wanted[$0] > 0) })
    checkClose(dense.values, wanted.values, tolerance: 1e-5, "encode")
    checkClose(sae.decode(codes).values, try io.matrix("decode").values, tolerance: 1e-5, "decode")
}
