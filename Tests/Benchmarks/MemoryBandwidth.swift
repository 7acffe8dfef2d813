import Kernels
import LinearAlgebra

/// What memory gives both lanes: z = a·x + b·y over arrays far larger than any cache (the triad of STREAM).
///
/// Four transfers an element: x and y in, z in because a line is read before it is written, z out.
struct MemoryBandwidth {
    private let arrays = (0..<3).map { _ in Matrix(rows: 1, columns: 16 << 20) }

    /// Bytes a pass moves.
    var bytes: Double { 4 * 4 * Double(arrays[0].count) }

    func pass() {
        Lanes.shared.forRanges(arrays[0].count, grain: 1024) { _, range in
            // Pieces as long as the rows of a large SAE, since the kernels are called a row at a time.
            for start in stride(from: range.lowerBound, to: range.upperBound, by: 1024) {
                kernels.combine(
                    arrays[2].elements + start, 0.5, arrays[0].elements + start, 2, arrays[1].elements + start, 1024)
            }
        }
    }
}
