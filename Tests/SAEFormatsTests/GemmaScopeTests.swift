import LinearAlgebra
import SAEFormats
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// `Fixtures/gemma_scope` was written by NumPy: the SAE of dictionary_learning's jumprelu folder, stored and deflated, in C and in Fortran
/// order, in three precisions (see make.py there).
@Suite struct GemmaScopeTests {
    @Test(arguments: ["stored", "deflated"]) func `params npz is the SAE that NumPy saved`(_ name: String) throws {
        let path = fixture("gemma_scope/layer_15/\(name)")
        let (sae, provenance) = try SAEFormats.read(path)
        let (same, _) = try SAEFormats.read(fixture("dictionary_learning/jumprelu"))
        #expect(sae.encoder.values == same.encoder.values && sae.decoder.values == same.decoder.values)
        #expect(sae.encoderBias.values == same.encoderBias.values && sae.decoderBias.values == same.decoderBias.values)
        #expect(sae.inference == same.inference && !sae.subtractsDecoderBias && provenance.layer == 15)
    }

    @Test func `the release that it lies in names the place in the model`() throws {
        let folder = TemporaryFolder()
        func copied(_ release: String) throws -> String {
            var path = folder.path
            for part in [release, "layer_15", "width_16k"] {
                path += "/" + part
                try createFolder(path)
            }
            try AtomicFile.write(
                contents(of: fixture("gemma_scope/layer_15/stored/params.npz")), to: path + "/params.npz")
            return path
        }
        for (release, kind) in [
            ("gemma-scope-2b-pt-res", HookPoint.Kind.residPost), ("gemma-scope-2b-pt-mlp", .mlpOut),
            ("models--google--gemma-scope-9b-pt-mlp", .mlpOut),
        ] {
            let (_, provenance) = try SAEFormats.read(try copied(release))
            #expect(provenance.hookPoint == HookPoint(block: 15, kind), "\(release)")
        }
        for (release, says) in [
            (
                "gemma-scope-2b-pt-att",
                "whose place in the model is hook_z, what attention's heads give; supported are -res and -mlp"
            ),
            ("gemma-scope-2b-pt-transcoders", "whose place in the model is the perceptron, read and rebuilt"),
        ] {
            let path = try copied(release)
            do {
                _ = try SAEFormats.read(path)
                Issue.record("\(release) was read")
            } catch { #expect("\(error)".contains("it lies in \(release), " + says), "\(error)") }
        }
    }

    @Test func `objects and other arrays are refused by name`() throws {
        for (name, says) in [
            ("objects", "array \"W_dec\" is of type |O; save it as little-endian floats"),
            ("more", "it holds an array \"scale\", which no SAE of Gemma Scope has"),
        ] {
            do {
                _ = try SAEFormats.read(fixture("gemma_scope/layer_15/\(name)"))
                Issue.record("\(name) was read")
            } catch { #expect("\(error)".contains(says), "\(error)") }
        }
    }
}
