import COpenBLAS

/// Whether a factor is used as stored or transposed.
public enum Orientation: Sendable {
    case normal
    /// Rows and columns exchanged.
    case transposed

    fileprivate var number: Int32 { self == .normal ? DMSAE_BLAS_AS_STORED : DMSAE_BLAS_TRANSPOSED }
}

/// C = α·op(A)·op(B) + β·C on the calling lane, all row-major: op(A) is [m, k], op(B) is [k, n], C is [m, n].
/// `lda`, `ldb`, `ldc` are the strides between stored rows.
public func multiplyOnLane(
    _ m: Int, _ n: Int, _ k: Int, _ alpha: Float, _ a: UnsafePointer<Float>, _ lda: Int, _ orientA: Orientation,
    _ b: UnsafePointer<Float>, _ ldb: Int, _ orientB: Orientation, _ beta: Float, _ c: UnsafeMutablePointer<Float>,
    _ ldc: Int
) {
    guard m > 0, n > 0 else { return }
    BLAS.loaded.table.sgemm!(
        DMSAE_BLAS_ROW_MAJOR, orientA.number, orientB.number, Int32(m), Int32(n), Int32(k), alpha, a, Int32(lda), b,
        Int32(ldb),
        beta, c, Int32(ldc))
}

extension Lanes {
    /// C = α·op(A)·op(B) + β·C, the rows of C cut over the lanes; arguments as in `multiplyOnLane`.
    ///
    /// The cut depends on m and the number of lanes alone, and so do the bits. BLAS kernels round rows in groups
    /// (OpenBLAS: 12 with AVX2, 16 with AVX-512), so another number of lanes gives the same bits only where every
    /// lane starts at a multiple of the group; cutting there always would leave the last lane up to 47 rows short.
    public func multiply(
        _ m: Int, _ n: Int, _ k: Int, _ alpha: Float, _ a: UnsafePointer<Float>, _ lda: Int, _ orientA: Orientation,
        _ b: UnsafePointer<Float>, _ ldb: Int, _ orientB: Orientation, _ beta: Float,
        _ c: UnsafeMutablePointer<Float>, _ ldc: Int
    ) {
        _ = BLAS.loaded
        forRanges(m, grain: 16) { _, rows in
            let start = rows.lowerBound
            let firstRow = orientA == .normal ? a + start * lda : a + start
            multiplyOnLane(
                rows.count, n, k, alpha, firstRow, lda, orientA, b, ldb, orientB, beta, c + start * ldc, ldc)
        }
    }

    /// C = op(A)·op(B) + β·C for whole matrices.
    public func multiply(
        _ a: Matrix, _ orientA: Orientation = .normal, _ b: Matrix, _ orientB: Orientation = .normal,
        into c: Matrix, adding beta: Float = 0
    ) {
        let (m, k) = orientA == .normal ? (a.rows, a.columns) : (a.columns, a.rows)
        let (k2, n) = orientB == .normal ? (b.rows, b.columns) : (b.columns, b.rows)
        precondition(
            k == k2 && c.rows == m && c.columns == n, "product of \(m)×\(k) and \(k2)×\(n) into \(c.rows)×\(c.columns)")
        multiply(
            m, n, k, 1, a.elements, a.columns, orientA, b.elements, b.columns, orientB, beta, c.elements, c.columns)
    }
}
