import Glibc

/// A row-major matrix of `Float` in memory of its own, 64-byte aligned, zero at first. A vector is a matrix of one
/// row.
///
/// A class: parameters, gradients and scratch are buffers with an identity, allocated once and reused (fresh memory
/// costs a page fault every 4 KiB, about as much as a product does). Reads and writes from several lanes at once are
/// the caller's to keep apart, by row.
public final class Matrix: @unchecked Sendable {
    /// Number of rows.
    public let rows: Int
    /// Number of columns.
    public let columns: Int
    /// Element (r, c) at r·columns + c.
    public let elements: UnsafeMutablePointer<Float>
    private let owner: AnyObject?
    /// Of memory that was mapped for it alone.
    private let mappedBytes: Int

    /// A zero matrix. Ends the program where there is no memory for it: see `allocateAligned`.
    public init(rows: Int, columns: Int) {
        precondition(rows >= 0 && columns >= 0, "a matrix of \(rows) × \(columns)")
        self.rows = rows
        self.columns = columns
        let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
        (elements, mappedBytes) = allocateZeros(overflow ? .max : count, for: "a matrix of \(rows) × \(columns)")
        owner = nil
    }

    /// A matrix in memory that `owner` keeps, 64-byte aligned; for reading, unless its owner says otherwise.
    public init(rows: Int, columns: Int, elements: UnsafeMutablePointer<Float>, owner: AnyObject) {
        self.rows = rows
        self.columns = columns
        self.elements = elements
        self.owner = owner
        mappedBytes = 0
    }

    /// A matrix holding `values` in row-major order.
    public convenience init(rows: Int, columns: Int, _ values: [Float]) {
        precondition(values.count == rows * columns, "\(values.count) values for \(rows) × \(columns)")
        self.init(rows: rows, columns: columns)
        values.withUnsafeBufferPointer { elements.update(from: $0.baseAddress!, count: values.count) }
    }

    /// A vector of one row.
    public convenience init(vector values: [Float]) {
        self.init(rows: 1, columns: values.count, values)
    }

    deinit {
        guard owner == nil else { return }
        if mappedBytes > 0 { munmap(elements, mappedBytes) } else { free(elements) }
    }

    /// Number of elements.
    public var count: Int { rows * columns }

    /// Every element in row-major order, where it is.
    package var buffer: UnsafeMutableBufferPointer<Float> { UnsafeMutableBufferPointer(start: elements, count: count) }

    /// Gives the memory of a large matrix back until something is written to it; what it holds is lost. Small ones keep what they hold.
    package func discard() { if mappedBytes > 0 { madvise(elements, mappedBytes, MADV_DONTNEED) } }

    /// Start of row `r`.
    public func row(_ r: Int) -> UnsafeMutablePointer<Float> { elements + r * columns }

    /// Element (r, c).
    public subscript(r: Int, c: Int) -> Float {
        get { elements[r * columns + c] }
        set { elements[r * columns + c] = newValue }
    }

    /// Element i in row-major order.
    public subscript(i: Int) -> Float {
        get { elements[i] }
        set { elements[i] = newValue }
    }

    /// Every element in row-major order.
    public var values: [Float] { Array(UnsafeBufferPointer(start: elements, count: count)) }

    /// Sets every element.
    public func fill(_ value: Float) { elements.update(repeating: value, count: count) }

    /// Copies the elements of a matrix of the same shape.
    public func assign(_ other: Matrix) {
        precondition(rows == other.rows && columns == other.columns, "shapes differ")
        elements.update(from: other.elements, count: count)
    }

    /// A copy in memory of its own.
    public func copy() -> Matrix {
        let result = Matrix(rows: rows, columns: columns)
        result.assign(self)
        return result
    }

    /// The transpose, in memory of its own.
    public func transposed() -> Matrix {
        let result = Matrix(rows: columns, columns: rows)
        // Tiles of 32 × 32 keep both sides in the first-level cache.
        for r0 in stride(from: 0, to: rows, by: 32) {
            for c0 in stride(from: 0, to: columns, by: 32) {
                for r in r0..<min(r0 + 32, rows) {
                    for c in c0..<min(c0 + 32, columns) {
                        result.elements[c * rows + r] = elements[r * columns + c]
                    }
                }
            }
        }
        return result
    }

    /// A copy of rows `range`.
    public func copy(rows range: Range<Int>) -> Matrix {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        let result = Matrix(rows: range.count, columns: columns)
        result.elements.update(from: row(range.lowerBound), count: range.count * columns)
        return result
    }

    /// √(mean over rows of ‖row‖²), summed in Double.
    public var rootMeanSquareRowNorm: Double {
        var square = 0.0
        for i in 0..<count { square += Double(elements[i]) * Double(elements[i]) }
        return (square / Double(max(rows, 1))).squareRoot()
    }

    /// Whether no element is NaN or infinite.
    public var isFinite: Bool {
        for i in 0..<count where !elements[i].isFinite { return false }
        return true
    }
}
