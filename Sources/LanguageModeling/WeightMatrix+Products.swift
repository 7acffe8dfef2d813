import Kernels
import LinearAlgebra

extension WeightMatrix {
    /// Numbers of a panel, 16 MiB. A weight of no more is widened whole, and its products have the bits of one in single precision. A
    /// product with fewer rows of a larger one packs its other factor anew too often: with 128 rows of 2,304 it takes 1.1 to 1.2 times as
    /// long, with 512 or more 1.0 to 1.05.
    static let panelNumbers = 1 << 22

    /// Rows of so many columns that a panel holds; at least 64, whatever that takes.
    package static func panelRows(columns: Int) -> Int { max(64, panelNumbers / columns) }

    /// What a panel for products with this weight holds, in numbers; 0 where nothing is widened.
    package var panelCount: Int { single == nil ? min(rows, Self.panelRows(columns: columns)) * columns : 0 }

    /// C = β·C + X·Wᵀ of X `[n, in]` and C `[n, out]`. `panel` has room for `panelCount` numbers.
    package func apply(
        to x: MatrixView, into c: MutableMatrixView, adding beta: Float = 0, panel: UnsafeMutablePointer<Float>,
        on lanes: Lanes
    ) {
        if let single { return lanes.multiply(x, single.view.transposed, into: c, adding: beta) }
        forEachPanel(panel, on: lanes) { part, rows in
            lanes.multiply(x, part.transposed, into: c.columns(rows), adding: beta)
        }
    }

    /// C = X·W of X `[n, out]` and C `[n, in]`.
    package func applyTransposed(
        to x: MatrixView, into c: MutableMatrixView, panel: UnsafeMutablePointer<Float>, on lanes: Lanes
    ) {
        if let single { return lanes.multiply(x, single.view, into: c) }
        forEachPanel(panel, on: lanes) { part, rows in
            lanes.multiply(x.columns(rows), part, into: c, adding: rows.lowerBound == 0 ? 0 : 1)
        }
    }

    /// Panels of rows one after the other, each widened by all lanes.
    private func forEachPanel(
        _ panel: UnsafeMutablePointer<Float>, on lanes: Lanes, _ body: (MatrixView, Range<Int>) -> Void
    ) {
        let step = Self.panelRows(columns: columns)
        for first in stride(from: 0, to: rows, by: step) {
            let count = min(step, rows - first)
            lanes.forRanges(count) { _, some in
                widen(first + some.lowerBound..<first + some.upperBound, into: panel + some.lowerBound * columns)
            }
            body(MatrixView(panel, rows: count, columns: columns), first..<first + count)
        }
    }

    /// Rows `range` in single precision, in `panel` where they have to be widened; for the calling lane.
    func view(_ range: Range<Int>, panel: UnsafeMutablePointer<Float>) -> MatrixView {
        if let single { return single.view.rows(range) }
        widen(range, into: panel)
        return MatrixView(panel, rows: range.count, columns: columns)
    }
}
