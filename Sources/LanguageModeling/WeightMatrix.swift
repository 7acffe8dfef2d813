import Glibc
import Kernels
import LinearAlgebra
import TensorFiles

/// A weight W `[out, in]` of a model, in the form that its file has it: half precision and blocks of a few bits stay as they are in
/// memory, and are widened a panel of rows at a time where a product reads them (`WeightMatrix+Products`). Rows of several forms may be
/// stacked.
package final class WeightMatrix: @unchecked Sendable {
    package let rows: Int
    package let columns: Int
    private let pieces: [Piece]
    /// All of it, where it is in single precision.
    package let single: Matrix?

    /// Rows of one form, one after the other in memory of their own: a map of the file would fault, or change, in the middle of a run.
    private struct Piece {
        let first: Int
        let rows: Int
        let format: NumberFormat
        let memory: UnsafeMutablePointer<UInt8>
        let rowBytes: Int
    }

    /// A weight in single precision.
    package init(_ matrix: Matrix) {
        (rows, columns, single, pieces) = (matrix.rows, matrix.columns, matrix, [])
    }

    /// Weights on top of each other.
    package convenience init(stacking weights: [ReadWeight]) {
        if weights.allSatisfy({ $0.rows.format == .f32 }) {
            let whole = Matrix(rows: weights.reduce(0) { $0 + $1.count }, columns: weights[0].rows.columns)
            var row = 0
            for weight in weights {
                weight.copy(to: whole.row(row))
                row += weight.count
            }
            self.init(whole)
        } else {
            self.init(pieces: weights)
        }
    }

    private init(pieces weights: [ReadWeight]) {
        var (pieces, row) = ([Piece](), 0)
        for weight in weights {
            let rowBytes = weight.rows.rowBytes
            let memory: UnsafeMutablePointer<UInt8> = allocateAligned(weight.count * rowBytes, for: "a weight")
            weight.copy(to: memory)
            pieces.append(
                Piece(first: row, rows: weight.count, format: weight.rows.format, memory: memory, rowBytes: rowBytes))
            row += weight.count
        }
        (rows, columns, single) = (row, weights[0].rows.columns, nil)
        self.pieces = pieces
    }

    deinit { for piece in pieces { free(piece.memory) } }

    /// Rows `range` in single precision, on the calling lane.
    package func widen(_ range: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        if let single {
            return target.update(from: single.row(range.lowerBound), count: range.count * columns)
        }
        for piece in pieces {
            let some = range.clamped(to: piece.first..<piece.first + piece.rows)
            if some.isEmpty { continue }
            kernels.expand(
                piece.memory + (some.lowerBound - piece.first) * piece.rowBytes, piece.format,
                target + (some.lowerBound - range.lowerBound) * columns, some.count * columns)
        }
    }

    /// All of it in single precision, in memory of its own unless it is so already.
    package func matrix() -> Matrix {
        if let single { return single }
        let result = Matrix(rows: rows, columns: columns)
        Lanes.shared.forRanges(rows) { _, range in widen(range, into: result.row(range.lowerBound)) }
        return result
    }

    /// Whether every number is that of another weight of this shape, whatever form each has.
    func hasSameNumbers(as other: WeightMatrix) -> Bool {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * columns) { memory in
            let (row, others) = (memory.baseAddress!, memory.baseAddress! + columns)
            return (0..<rows).allSatisfy { r in
                widen(r..<r + 1, into: row)
                other.widen(r..<r + 1, into: others)
                return (0..<columns).allSatisfy { row[$0] == others[$0] }
            }
        }
    }

    /// Whether no number is NaN or infinite: the largest magnitude's bits say whether any exponent is all ones.
    package var isFinite: Bool {
        let worst = Matrix(rows: Lanes.shared.count, columns: 16)
        Lanes.shared.forRanges(rows) { lane, range in
            withUnsafeTemporaryAllocation(of: Float.self, capacity: columns) { row in
                var largest: UInt32 = 0
                for r in range {
                    widen(r..<r + 1, into: row.baseAddress!)
                    for c in 0..<columns { largest = max(largest, row[c].bitPattern & 0x7FFF_FFFF) }
                }
                worst[lane, 0] = Float(bitPattern: largest)
            }
        }
        return (0..<worst.rows).allSatisfy { worst[$0, 0].isFinite }
    }
}

/// A weight as it was found in a file: rows as they are stored, or some of them, in an order.
package struct ReadWeight {
    let name: String
    let rows: StoredRows
    /// Which rows; nil for all as they are.
    let order: [Int]?

    package init(name: String, rows: StoredRows, order: [Int]? = nil) {
        (self.name, self.rows, self.order) = (name, rows, order)
    }

    var count: Int { order?.count ?? rows.rows }

    /// The rows' bytes, one row after the other.
    func copy(to target: UnsafeMutableRawPointer) {
        let size = rows.rowBytes
        Lanes.shared.forRanges(count) { _, range in
            guard let order else {
                (target + range.lowerBound * size)
                    .copyMemory(from: rows.bytes + range.lowerBound * size, byteCount: range.count * size)
                return
            }
            for r in range { (target + r * size).copyMemory(from: rows.bytes + order[r] * size, byteCount: size) }
        }
    }
}
