import LinearAlgebra
import SAEFormats
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// Files that openai/sparse_autoencoder wrote, one with ReLU and one with TopK.
@Suite struct OpenAITests {
    private let folder = TemporaryFolder()
    private let source = fixture("openai/resid_post_mlp/autoencoders")

    @Test func `encodings and reconstructions are those of the library`() throws {
        #expect(SAEFormats.format(of: source + "/15.pt").name == "openai")
        let (sae, provenance) = try SAEFormats.read(source + "/15.pt")
        #expect(provenance.layer == 15 && sae.subtractsDecoderBias)
        try checkRecorded(sae, fixture("openai/io.safetensors"))
    }

    private func says(_ path: String) -> String {
        do {
            _ = try SAEFormats.read(path)
            return "nothing"
        } catch { return "\(error)" }
    }

    @Test func `inputs that are normalised one by one are refused with the reason`() {
        let found = says(source + "/16.pt")
        #expect(
            found.contains(
                "its activation is TopK, with which the library normalises every input by its own mean and deviation; "
                    + "weights cannot hold that"), "\(found)")
    }

    @Test func `another place in the model is told by where the file lies`() throws {
        func copied(_ place: String) throws -> String {
            let path = folder.file("\(place)/autoencoders")
            try createFolder(folder.file(place))
            try createFolder(path)
            try AtomicFile.write(contents(of: source + "/15.pt"), to: path + "/15.pt")
            return path + "/15.pt"
        }
        for place in ["mlp_post_act", "resid_post_attn_v5_32k"] {
            #expect(says(try copied(place)).contains("by where it lies it reads \(place.prefix(12))"), "\(place)")
        }
        for (place, kind) in [("resid_delta_mlp_v4", HookPoint.Kind.mlpOut), ("resid_delta_attn", .attnOut)] {
            #expect(try SAEFormats.read(try copied(place)).provenance.hookPoint == HookPoint(block: 15, kind))
        }
    }

    @Test func `a state dict of something else is refused by name`() throws {
        try AtomicFile.write(contents(of: fixture("dictionary_learning/gated/ae.pt")), to: folder.file("gated.pt"))
        let found = says(folder.file("gated.pt"))
        #expect(found.contains("it holds \"decoder_bias\", which no SAE of sparse_autoencoder has"), "\(found)")
    }
}
