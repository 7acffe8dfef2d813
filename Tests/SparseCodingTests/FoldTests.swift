import LinearAlgebra
import SparseCoding
import TestSupport
import Testing

/// Decoder norms folded into the latents leave an SAE's function as it is.
@Suite struct FoldTests {
    private let x = randomMatrix(64, 12, seed: 9, from: -2, to: 2)

    /// A random SAE with unit rows.
    private func unit(core: Int = 0, coreIsDense: Bool = true) throws -> SparseAutoencoder {
        let sae = try smallSAE(dIn: 12, groups: [10, 20], core: core, coreIsDense: coreIsDense)
        sae.inference = .threshold(0.37)
        return sae
    }

    /// The same function with decoder rows of the given norms.
    private func scaled(_ sae: SparseAutoencoder, by norms: (Int) -> Float) throws -> SparseAutoencoder {
        let result = sae.copy()
        let thresholds = try? sae.inferenceThresholds()
        for j in 0..<sae.dSAE {
            let s = norms(j)
            for c in 0..<sae.dIn {
                result.decoder[j, c] *= s
                result.encoder[j, c] /= s
            }
            result.encoderBias[j] /= s
            if let thresholds { thresholds[j] /= s }
        }
        if let thresholds { result.inference = .thresholds(thresholds.values) }
        return result
    }

    private func codes(_ sae: SparseAutoencoder) throws -> SparseCodes {
        let codes = SparseCodes()
        try SparseEncoder().encode(x, with: sae, into: codes)
        return codes
    }

    private func isClose(_ a: Matrix, _ b: Matrix) -> Bool {
        Closeness(a.values, b.values).isWithin(2e-6)
    }

    @Test(arguments: [true, false], [true, false])
    func aScaledCopyHasTheCodesAndTheReconstructionOfTheUnitOne(_ subtracts: Bool, _ isDense: Bool) throws {
        let sae = try unit(core: 4, coreIsDense: isDense)
        sae.subtractsDecoderBias = subtracts
        let copy = try scaled(sae) { 0.3 + 0.11 * Float($0) }
        let before = copy.decode(try codes(copy))
        let norms = try #require(try copy.foldDecoderNorms())
        #expect(norms.latents.count == 30 && abs(norms.range.upperBound - 3.49) < 1e-5)
        let (own, folded) = (try codes(sae), try codes(copy))
        #expect(own.count > 100 && isClose(folded.dense(), own.dense()))
        #expect(isClose(copy.decode(folded), sae.decode(own)) && isClose(copy.decode(folded), before))
        #expect(copy.decoderNorms == nil)
        #expect(try copy.foldDecoderNorms() == nil)
    }

    @Test func unitRowsAndRowsOfZerosKeepTheirBits() throws {
        let sae = try unit()
        for c in 0..<12 { sae.decoder[7, c] = 0 }
        let before = sae.copy()
        #expect(try sae.foldDecoderNorms() == nil)
        #expect(sae.inference == .threshold(0.37))
        // One row is no unit row: the others stay, and the threshold becomes one a latent.
        for c in 0..<12 { sae.decoder[3, c] *= 2 }
        #expect(try sae.foldDecoderNorms()?.latents == [3] && sae.decoderNorms == nil)
        let thresholds = try sae.inferenceThresholds()
        #expect(sae.inference == .thresholds(thresholds.values))
        for j in 0..<30 {
            for c in 0..<12 where j != 3 {
                #expect(sae.decoder[j, c] == before.decoder[j, c] && sae.encoder[j, c] == before.encoder[j, c])
            }
            #expect(j == 3 || thresholds[j] == 0.37)
        }
        #expect(abs(sae.encoder[3, 5] - 2 * before.encoder[3, 5]) < 1e-6)
        #expect(abs(thresholds[3] - 0.74) < 1e-6)
    }

    @Test func anInfiniteThresholdStaysOneAndAnUnsetOneUnset() throws {
        let sae = try unit()
        let copy = try scaled(sae) { _ in 3 }
        var thresholds = try copy.inferenceThresholds().values
        thresholds[2] = .infinity
        copy.inference = .thresholds(thresholds)
        try copy.foldDecoderNorms()
        #expect(try copy.inferenceThresholds()[2] == .infinity)
        let unset = try scaled(sae) { _ in 3 }
        unset.inference = nil
        #expect(try unset.foldDecoderNorms() != nil && unset.inference == nil)
    }

    @Test func theLargestOfATokenStayTheLargestOrTheFoldIsRefused() throws {
        let sae = try unit()
        sae.inference = .rowTopK(5)
        for c in 0..<12 { sae.decoder[7, c] = 0 }
        // All by one factor, a dead latent's encoder too: who is among the largest does not change.
        let copy = try scaled(sae) { _ in 4 }
        try copy.foldDecoderNorms()
        let (own, folded) = (try codes(sae), try codes(copy))
        #expect(own.columns == folded.columns && isClose(folded.dense(), own.dense()))
        #expect(own.dense().values.indices.contains { $0 % 30 == 7 && own.dense().values[$0] > 0 })
        let uneven = try scaled(sae) { $0 == 1 ? 2 : 1 }
        #expect(
            message { try uneven.foldDecoderNorms() }
                == "the SAE's decoder rows have other norms than 1, which cannot be folded into its latents: it keeps the 5 "
                + "largest activations of a token, and with norms from 1.0 to 2.0 folded in, others would be the largest; "
                + "--no-fold takes the latents on the scale that the file gives them")
    }

    @Test func whatWouldBeInfiniteIsRefused() throws {
        let sae = try unit()
        for c in 0..<12 { sae.decoder[4, c] *= 1e20 }
        for c in 0..<12 { sae.encoder[4, c] = 1e20 }
        #expect(message { try sae.foldDecoderNorms() }.contains("the encoder vector of latent 4 would be infinite"))
    }
}
