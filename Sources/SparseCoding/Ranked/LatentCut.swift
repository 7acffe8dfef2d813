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

    /// Those of every rank.
    package func all(_ count: Int) throws -> [LatentCut] {
        try (0..<count).map { try LatentCut(layout, rank: $0, of: count) }
    }

    /// The rank's part of what is of all latents: rows [F of the rank, D] of a matrix [F, D], columns of a vector [1, F].
    package func part(of all: Matrix) -> Matrix {
        let width = all.count / layout.latentCount
        let result =
            all.rows == 1 ? Matrix(rows: 1, columns: places.count) : Matrix(rows: places.count, columns: width)
        for (j, place) in places.enumerated() {
            (result.elements + j * width).update(from: all.elements + place * width, count: width)
        }
        return result
    }
}
