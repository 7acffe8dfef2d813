import LinearAlgebra

/// The latents of one rank: of the core and of each group an equal part of those that lie together, so that every prefix is cut
/// evenly and local latents are in the order of all.
package struct LatentCut: Sendable {
    /// Of all latents.
    package let layout: PrefixLayout
    /// Of this rank's.
    package let own: PrefixLayout
    /// [F of the rank] which of all a local latent is, ascending.
    package let places: [Int]

    /// - Throws: `SparseCodingError.badSetting` where a group has fewer latents than there are ranks.
    package init(_ layout: PrefixLayout, rank: Int, of count: Int) throws {
        self.layout = layout
        var (sizes, places, start) = ([Int](), [Int](), 0)
        for end in [layout.coreCount] + (layout.coreIsPrefix ? Array(layout.prefixes[1...]) : layout.prefixes) {
            let size = end - start, own = size * rank / count..<size * (rank + 1) / count
            places += own.map { start + $0 }
            sizes.append(own.count)
            start = end
        }
        if let group = sizes[1...].firstIndex(of: 0) {
            throw SparseCodingError.badSetting(
                name: "ranks", value: "\(count)",
                wanted: "at most as many as each group has latents: group \(group) leaves rank \(rank) none")
        }
        self.places = places
        own = PrefixLayout(core: sizes[0], sizes: Array(sizes[1...]), coreIsPrefix: layout.coreIsPrefix)
    }

    /// Rows [F of the rank, D] of a matrix of all latents [F, D].
    package func rows(of all: Matrix) -> Matrix {
        let result = Matrix(rows: places.count, columns: all.columns)
        for (j, place) in places.enumerated() { result.row(j).update(from: all.row(place), count: all.columns) }
        return result
    }
}

extension SparseAutoencoder {
    /// The latents of a rank, in memory of their own.
    package func cut(_ cut: LatentCut) -> SparseAutoencoder {
        let result = SparseAutoencoder(dIn: dIn, layout: cut.own, coreIsDense: coreIsDense)
        result.encoder.assign(cut.rows(of: encoder))
        result.decoder.assign(cut.rows(of: decoder))
        for (j, place) in cut.places.enumerated() { result.encoderBias[j] = encoderBias[place] }
        result.decoderBias.assign(decoderBias)
        result.inference = inference
        result.subtractsDecoderBias = subtractsDecoderBias
        return result
    }
}
