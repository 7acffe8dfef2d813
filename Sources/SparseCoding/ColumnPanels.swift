import Kernels
import LinearAlgebra

/// A batch [B, D] in panels of a few columns, for the sparse products of a training step.
///
/// A latent's decoder row is met by the tokens it fired on, in no order that a cache could follow. In panels so narrow
/// that B rows of one stay in a core's second-level cache, latents can be taken one after the other: each parameter is
/// read once, in order, and what is met at random is near. Every lane has panels of its own, so nothing is shared.
final class ColumnPanels {
    private let lanes: Lanes
    /// What a lane's panels are kept in.
    private var memory: [Matrix]

    init(lanes: Lanes) {
        self.lanes = lanes
        memory = (0..<lanes.count).map { _ in Matrix(rows: 1, columns: 0) }
    }

    /// Some columns of a batch, with room for several matrices [rows, width] of them.
    struct Panel {
        let lane: Int
        let rows: Int
        let columns: Range<Int>
        fileprivate let memory: UnsafeMutablePointer<Float>

        var width: Int { columns.count }

        /// Elements of one matrix.
        var count: Int { rows * width }

        /// The same in bytes.
        var bytes: Int { 4 * count }

        /// Matrix i, row-major.
        func slot(_ i: Int) -> UnsafeMutablePointer<Float> { memory + i * count }
    }

    /// Half of the second-level cache of most processors.
    private static let panelBytes = 512 << 10
    /// Of what is read and written again, half as much stays there.
    static let addedBytes = 256 << 10

    /// Columns of a panel: as many as the kernels take at a time, fewer where so many would not fit.
    private static func width(rows: Int) -> Int { [64, 32].first { 4 * rows * $0 <= panelBytes } ?? 16 }

    /// Cuts `columns` columns into panels of `rows` rows with room for `slots` matrices, and runs `body` on each. Each
    /// lane cuts a range of columns of its own.
    func forEach(columns: Int, rows: Int, slots: Int, _ body: (Panel) -> Void) {
        let width = Self.width(rows: rows)
        if memory[0].columns < slots * rows * width {
            memory = memory.map { _ in Matrix(rows: 1, columns: slots * rows * width) }
        }
        lanes.forRanges(columns, grain: 16) { lane, range in
            for first in stride(from: range.lowerBound, to: range.upperBound, by: width) {
                let own = first..<min(first + width, range.upperBound)
                body(Panel(lane: lane, rows: rows, columns: own, memory: memory[lane].elements))
            }
        }
    }
}

extension ColumnPanels.Panel {
    /// Slot i = its columns of x [B, D].
    func load(_ x: Matrix, into i: Int) {
        for b in 0..<rows { (slot(i) + b * width).update(from: x.row(b) + columns.lowerBound, count: width) }
    }

    /// Slot i = its columns of x − shift, x [B, D] and shift [1, D].
    func load(_ x: Matrix, minus shift: Matrix, into i: Int) {
        let first = columns.lowerBound
        for b in 0..<rows {
            kernels.combine(slot(i) + b * width, 1, x.row(b) + first, -1, shift.elements + first, width)
        }
    }

    /// The sum of squares of slot i, which is copied to another on the way, if one is given.
    func squaredNorm(of i: Int, copyingTo other: Int? = nil) -> Double {
        // Blocks stay in the first-level cache; a block's sum is in single precision, theirs in Double.
        let (source, block) = (slot(i), 4096)
        var sum = 0.0
        for start in stride(from: 0, to: count, by: block) {
            let size = min(block, count - start)
            sum += Double(kernels.dot(source + start, source + start, size))
            if let other { (slot(other) + start).update(from: source + start, count: size) }
        }
        return sum
    }

    /// Σ_b of slot i, divided by `divisor`, [1, width]; blocks of rows in single precision, their sum in Double.
    func sumRows(_ i: Int, dividedBy divisor: Double = 1, into target: UnsafeMutablePointer<Float>) {
        withUnsafeTemporaryAllocation(of: Double.self, capacity: width) { total in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: width) { block in
                total.initialize(repeating: 0)
                for start in stride(from: 0, to: rows, by: 64) {
                    block.initialize(repeating: 0)
                    for b in start..<min(start + 64, rows) {
                        kernels.addScaled(block.baseAddress!, slot(i) + b * width, 1, width)
                    }
                    for c in 0..<width { total[c] += Double(block[c]) }
                }
                for c in 0..<width { target[c] = Float(total[c] / divisor) }
            }
        }
    }
}
