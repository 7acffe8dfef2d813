/// A matrix in memory of somebody else's, for reading: the factors of products, which are parts of matrices as
/// often as whole ones.
///
/// A value of a few words that is made at a call and holds nothing: whoever owns the memory must outlive it. Element
/// (r, c) lies at r·stride + c, or, of a transposed one, at c·stride + r.
public struct MatrixView: @unchecked Sendable {
    /// Element (0, 0).
    public let pointer: UnsafePointer<Float>
    /// Number of rows.
    public let rows: Int
    /// Number of columns.
    public let columns: Int
    /// Elements from one stored row to the next.
    public let stride: Int
    /// Whether rows are stored as columns.
    let isTransposed: Bool

    /// Rows of `columns` elements, one after the other unless `stride` lies between their starts.
    public init(_ pointer: UnsafePointer<Float>, rows: Int, columns: Int, stride: Int? = nil) {
        self.init(pointer, rows, columns, stride ?? columns, isTransposed: false)
        precondition(
            rows >= 0 && columns >= 0 && self.stride >= columns, "\(rows) × \(columns) elements \(self.stride) apart")
    }

    private init(_ pointer: UnsafePointer<Float>, _ rows: Int, _ columns: Int, _ stride: Int, isTransposed: Bool) {
        self.pointer = pointer
        self.rows = rows
        self.columns = columns
        self.stride = stride
        self.isTransposed = isTransposed
    }

    /// The same memory with rows and columns exchanged.
    public var transposed: MatrixView {
        MatrixView(pointer, columns, rows, stride, isTransposed: !isTransposed)
    }

    /// Some of the rows.
    public func rows(_ range: Range<Int>) -> MatrixView {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        return MatrixView(
            pointer + range.lowerBound * (isTransposed ? 1 : stride), range.count, columns, stride,
            isTransposed: isTransposed)
    }

    /// Some of the columns.
    public func columns(_ range: Range<Int>) -> MatrixView {
        transposed.rows(range).transposed
    }
}

/// A matrix in memory of somebody else's, for writing: what products go into. As `MatrixView`, and never transposed:
/// what would be written into Cᵀ is Bᵀ·Aᵀ into C.
public struct MutableMatrixView: @unchecked Sendable {
    /// Element (0, 0).
    public let pointer: UnsafeMutablePointer<Float>
    /// Number of rows.
    public let rows: Int
    /// Number of columns.
    public let columns: Int
    /// Elements from one row to the next.
    public let stride: Int

    /// Rows of `columns` elements, one after the other unless `stride` lies between their starts.
    public init(_ pointer: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int? = nil) {
        self.pointer = pointer
        self.rows = rows
        self.columns = columns
        self.stride = stride ?? columns
        precondition(
            rows >= 0 && columns >= 0 && self.stride >= columns, "\(rows) × \(columns) elements \(self.stride) apart")
    }

    /// The same for reading.
    public var view: MatrixView { MatrixView(pointer, rows: rows, columns: columns, stride: stride) }

    /// Some of the rows.
    public func rows(_ range: Range<Int>) -> MutableMatrixView {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        return MutableMatrixView(
            pointer + range.lowerBound * stride, rows: range.count, columns: columns, stride: stride)
    }

    /// Some of the columns.
    public func columns(_ range: Range<Int>) -> MutableMatrixView {
        precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of \(columns)")
        return MutableMatrixView(pointer + range.lowerBound, rows: rows, columns: range.count, stride: stride)
    }
}

extension Matrix {
    /// All of it, for reading; the matrix must outlive what is done with the view.
    public var view: MatrixView { MatrixView(elements, rows: rows, columns: columns) }

    /// All of it, for writing; the matrix must outlive what is done with the view.
    public var mutableView: MutableMatrixView { MutableMatrixView(elements, rows: rows, columns: columns) }
}
