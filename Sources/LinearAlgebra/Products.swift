import COpenBLAS

/// C = α·A·B + β·C on the calling lane, of A `[m, k]`, B `[k, n]` and C `[m, n]`. Where β is 0, whatever
/// C held is overwritten.
public func multiplyOnLane(
    _ a: MatrixView, _ b: MatrixView, into c: MutableMatrixView, scale alpha: Float = 1, adding beta: Float = 0
) {
    requireShapes(a, b, c)
    product(a, b, c, alpha, beta)
}

extension Lanes {
    /// The same, the rows of C cut over the lanes.
    ///
    /// The cut depends on m and the number of lanes alone, and so do the bits. BLAS kernels round rows in groups
    /// (OpenBLAS: 12 with AVX2, 16 with AVX-512), so another number of lanes gives the same bits only where every
    /// lane starts at a multiple of the group; cutting there always would leave the last lane up to 47 rows short.
    public func multiply(
        _ a: MatrixView, _ b: MatrixView, into c: MutableMatrixView, scale alpha: Float = 1, adding beta: Float = 0
    ) {
        requireShapes(a, b, c)
        _ = BLAS.loaded
        forRanges(c.rows, grain: 16) { _, rows in product(a.rows(rows), b, c.rows(rows), alpha, beta) }
    }
}

/// Shapes that do not fit are a mistake of ours, and what BLAS would do with them is write beside the memory.
private func requireShapes(_ a: MatrixView, _ b: MatrixView, _ c: MutableMatrixView) {
    precondition(
        a.columns == b.rows && c.rows == a.rows && c.columns == b.columns,
        "product of \(a.rows) × \(a.columns) and \(b.rows) × \(b.columns) into \(c.rows) × \(c.columns)")
}

private func product(_ a: MatrixView, _ b: MatrixView, _ c: MutableMatrixView, _ alpha: Float, _ beta: Float) {
    guard c.rows > 0, c.columns > 0 else { return }
    BLAS.loaded.table.sgemm!(
        DMSAE_BLAS_ROW_MAJOR, a.orientation, b.orientation, Int32(c.rows), Int32(c.columns), Int32(a.columns), alpha,
        a.pointer, Int32(a.stride), b.pointer, Int32(b.stride), beta, c.pointer, Int32(c.stride))
}

extension MatrixView {
    fileprivate var orientation: Int32 { isTransposed ? DMSAE_BLAS_TRANSPOSED : DMSAE_BLAS_AS_STORED }
}
