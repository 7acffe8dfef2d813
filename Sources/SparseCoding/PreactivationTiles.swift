import LinearAlgebra

/// Pre-activations, a tile at a time.
///
/// The matrix x W_enc is B × F, at F = 65,536 half a gigabyte for 2048 tokens: it is never whole. Each lane computes
/// a tile of its own rows, hands it over while it is in cache, and overwrites it with the next.
package final class PreactivationTiles {
    /// Rows and latents of a tile: 2 MiB. Packing the factors costs OpenBLAS less the more rows share a packed encoder,
    /// and at 1024 a tile runs at the rate of the whole product; 256 × 1024 is 6% slower.
    static let rows = 1024
    static let latents = 512
    /// A lane's rows are a multiple of as many.
    static let rowGrain = 16

    private let lanes: Lanes
    private let tiles: [Matrix]

    /// Tiles of these lanes.
    package init(lanes: Lanes = .shared) {
        self.lanes = lanes
        tiles = (0..<lanes.count).map { _ in Matrix(rows: Self.rows, columns: Self.latents) }
    }

    /// Where a tile lies: its pre-activations without bias, [rows, latents] with `stride` between rows.
    package struct Tile {
        let lane: Int
        let rows: Range<Int>
        let latents: Range<Int>
        let products: UnsafePointer<Float>
        let stride: Int

        func row(_ r: Int) -> UnsafePointer<Float> { products + (r - rows.lowerBound) * stride }
    }

    /// Computes input [B, D] times encoder [F, D] transposed, for the given rows and latents. On each lane, rows
    /// come in blocks of ascending rows and, within a block, latents ascending. No tile crosses one of `bounds`, so a
    /// caller can treat a range of latents differently.
    package func forEach(input: Matrix, rows: Range<Int>, encoder: Matrix, _ body: (Tile) -> Void) {
        forEach(input: input, rows: rows, encoder: encoder, bounds: [], due: nil, body)
    }

    /// As above, with what is `due` done to a tile's encoder rows before.
    func forEach(
        input: Matrix, rows: Range<Int>, encoder: Matrix, bounds: [Int], due: DeferredUpdate?, _ body: (Tile) -> Void
    ) {
        let cuts = latentCuts(encoder.rows, bounds)
        lanes.forRanges(rows.count, grain: Self.rowGrain) { lane, range in
            let tile = tiles[lane].elements
            var first = rows.lowerBound + range.lowerBound
            let end = rows.lowerBound + range.upperBound
            while first < end {
                let block = first..<min(first + Self.rows, end)
                for latents in cuts {
                    due?.bring(latents)
                    multiplyOnLane(
                        input.view.rows(block), encoder.view.rows(latents).transposed,
                        into: MutableMatrixView(tile, rows: block.count, columns: latents.count))
                    body(Tile(lane: lane, rows: block, latents: latents, products: tile, stride: latents.count))
                }
                first = block.upperBound
            }
        }
    }

    private func latentCuts(_ latents: Int, _ bounds: [Int]) -> [Range<Int>] {
        var cuts: [Range<Int>] = []
        var start = 0
        for bound in bounds.filter({ $0 > 0 && $0 < latents }) + [latents] {
            while start < bound {
                let end = min(start + Self.latents, bound)
                cuts.append(start..<end)
                start = end
            }
        }
        return cuts
    }
}
