import LinearAlgebra
import SAEFormats
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// SAELens' folders as one format among others; what they hold is tested in `SAEFolderTests`.
@Suite struct SAELensTests {
    private let folder = TemporaryFolder()

    @Test func `what inputs are multiplied by says which SAE it is, too`() {
        let names = { (path: String) in SAEFormats.files(path).map { $0.split(separator: "/").last ?? "" } }
        #expect(names(fixture("saelens/gated")) == ["cfg.json", "sae_weights.safetensors"])
        #expect(
            names(fixture("saelens/matryoshka_training"))
                == ["cfg.json", "activation_scaler.json", "sae_weights.safetensors"])
    }

    @Test func `how another program trained an SAE is not made up`() throws {
        func said(_ source: String) throws -> String? {
            let (sae, provenance) = try SAEFormats.read(fixture(source))
            try SAELens().write(sae, provenance, to: folder.file("sae"))
            return try JSONValue(contentsOf: folder.file("sae/cfg.json"))["metadata"]?["training_architecture"]?.string
        }
        #expect(try said("gemma_scope/layer_15/stored") == nil)
        #expect(try said("dictionary_learning/matryoshka_batchtopk") == "matryoshka_batchtopk")
    }

    @Test func `a checkpoint comes back from a folder of SAELens as it was`() throws {
        let (sae, provenance) = try SAEFormats.read(fixture("dictionary_learning/matryoshka_batchtopk"))
        #expect(provenance.k == 8)
        try SAELens().write(sae, provenance, to: folder.file("saelens"))
        let (between, kept) = try SAEFormats.read(folder.file("saelens"))
        #expect(kept == provenance && between.layout == sae.layout)
        try DictionaryLearning().write(between, kept, to: folder.file("sae"))
        let (again, from) = try SAEFormats.read(folder.file("sae"))
        #expect(again.encoder.values == sae.encoder.values && again.decoder.values == sae.decoder.values)
        #expect(again.inference == sae.inference && again.layout == sae.layout)
        #expect(from.k == 8 && from.layer == 15 && from.model == provenance.model)
    }
}
