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
