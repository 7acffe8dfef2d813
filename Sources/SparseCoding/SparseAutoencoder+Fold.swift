import Glibc
import LinearAlgebra

/// Norms of an SAE's decoder rows that are neither 0 nor, but for roundings, 1.
public struct DecoderNorms: Equatable, Sendable {
    /// Latents with such a row.
    public let latents: [Int]
    /// The smallest and the largest of their norms.
    public let range: ClosedRange<Double>

    /// "0.3124 to 2.9", for messages.
    public var extent: String {
        func short(_ norm: Double) -> String {
            let unit = pow(10, floor(log10(norm)) - 3)
            return "\(Float((norm / unit).rounded() * unit))"
        }
        return "\(short(range.lowerBound)) to \(short(range.upperBound))"
    }
}

extension SparseAutoencoder {
    /// A row that was divided by its norm in single precision is as close to 1 as this, and is a unit row: what was
    /// trained here keeps its bits.
    private static let roundings = 0x1p-19

    /// [F] in Double.
    private var rowNorms: [Double] {
        (0..<dSAE).map { j in
            let row = decoder.row(j)
            return (0..<dIn).reduce(0.0) { $0 + Double(row[$1]) * Double(row[$1]) }.squareRoot()
        }
    }

    /// Which decoder rows are no unit rows; nil if all are, or are 0, as those of dead latents may be.
    public var decoderNorms: DecoderNorms? { Self.others(among: rowNorms) }

    private static func others(among norms: [Double]) -> DecoderNorms? {
        let latents = norms.indices.filter { norms[$0] > 0 && abs(norms[$0] - 1) > roundings }
        let values = latents.map { norms[$0] }
        guard let least = values.min(), let most = values.max() else { return nil }
        return DecoderNorms(latents: latents, range: least...most)
    }

    /// Makes every decoder row a unit row and leaves the function as it is: W_dec,j / n, with W_enc,j, b_enc,j
    /// and θ_j times n = ‖W_dec,j‖ (Gao et al., arXiv:2406.04093; SAELens: fold_W_dec_norm). What ranks latents
    /// by their activations, or by activations and directions, would otherwise depend on a scale that the
    /// function does not have.
    ///
    /// In Double, once; unit rows and rows of zeros keep their bits. A shared θ becomes one a latent. Returns the norms
    /// that were folded, nil if there were none. After an error the SAE is not to be used.
    ///
    /// - Throws: `SparseCodingError.cannotFold` where the result would be another function: of an SAE that keeps the k
    ///   largest activations of a token, unless all norms are the same; and where a number becomes too large.
    @discardableResult
    public func foldDecoderNorms() throws -> DecoderNorms? {
        var factors = rowNorms
        guard let found = Self.others(among: factors) else { return nil }
        if case .rowTopK(let k) = inference {
            let known = factors.filter { $0 > 0 }
            let all = DecoderNorms(latents: found.latents, range: (known.min() ?? 1)...(known.max() ?? 1))
            guard all.range.upperBound - all.range.lowerBound <= Self.roundings * all.range.upperBound else {
                throw SparseCodingError.cannotFold(
                    reason:
                        "it keeps the \(k) largest activations of a token, and with norms from \(all.extent) folded in, "
                        + "others would be the largest")
            }
            // One factor for all, dead latents too, which take places: their order stays what it was.
            factors = [Double](repeating: known[0], count: dSAE)
        } else {
            factors = factors.map { $0 > 0 && abs($0 - 1) > Self.roundings ? $0 : 1 }
        }
        let thresholds: Matrix?
        switch inference {
        case .threshold, .thresholds: thresholds = try inferenceThresholds()
        case .rowTopK, nil: thresholds = nil
        }
        for j in 0..<dSAE where factors[j] != 1 {
            try scale(decoder.row(j), dIn, 1 / factors[j], "the decoder row of latent \(j)")
            try scale(encoder.row(j), dIn, factors[j], "the encoder vector of latent \(j)")
            try scale(encoderBias.elements + j, 1, factors[j], "b_enc of latent \(j)")
            if let thresholds { try scale(thresholds.elements + j, 1, factors[j], "the threshold of latent \(j)") }
        }
        if let thresholds { inference = .thresholds(thresholds.values) }
        return found
    }

    /// Multiplies p by the norm of its decoder row before it is selected, and divides f by it before decoding (SAELens:
    /// rescale_acts_by_decoder_norm): W_dec,j / n with W_enc,j and b_enc,j times n, and thresholds and k as they are,
    /// since they are of what was multiplied. A latent without a decoder row never fires.
    ///
    /// - Throws: `SparseCodingError.cannotFold` where a number becomes too large.
    func rescaleByDecoderNorms() throws {
        for (j, norm) in rowNorms.enumerated() {
            if norm > 0 { try scale(decoder.row(j), dIn, 1 / norm, "the decoder row of latent \(j)") }
            try scale(encoder.row(j), dIn, norm, "the encoder vector of latent \(j)")
            try scale(encoderBias.elements + j, 1, norm, "b_enc of latent \(j)")
        }
    }

    /// Makes an SAE that reads s x and whose reconstructions are divided by s one that reads x, with the same
    /// activations: W_enc s, W_dec / s, b_dec / s (SAELens: fold_activation_norm_scaling_factor).
    ///
    /// - Parameter keepingRank: whether latents are about to be multiplied by the norms of their decoder rows,
    ///   thresholds being of what that makes of them: those are divided by s, as the rows are.
    /// - Throws: `SparseCodingError.cannotFold` where a number becomes too large.
    func foldInputFactor(_ s: Double, keepingRank: Bool) throws {
        try scale(encoder.elements, encoder.count, s, "an encoder vector")
        try scale(decoder.elements, decoder.count, 1 / s, "a decoder row")
        try scale(decoderBias.elements, decoderBias.count, 1 / s, "b_dec")
        if keepingRank { inference = inference?.scaled(by: Float(1 / s)) }
    }

    private func scale(_ values: UnsafeMutablePointer<Float>, _ count: Int, _ factor: Double, _ what: String) throws {
        for i in 0..<count {
            let scaled = Float(Double(values[i]) * factor)
            // An infinite threshold was one before: it switches its latent off.
            guard scaled.isFinite || !values[i].isFinite else {
                throw SparseCodingError.cannotFold(reason: "\(what) would be infinite, \(values[i]) times \(factor)")
            }
            values[i] = scaled
        }
    }
}
