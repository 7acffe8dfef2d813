import Glibc

/// Sparse activations in compressed rows (CSR): row r holds entries `rowOffsets[r] ..< rowOffsets[r + 1]`, columns
/// ascending and unique within a row.
///
/// Columns are `Int32` and offsets `Int64` because that is how plugins see them; storage only ever grows.
public final class SparseCodes: @unchecked Sendable {
    /// Number of rows, N.
    public private(set) var rows: Int
    /// Number of columns, dSAE or a prefix of it.
    public private(set) var columns: Int
    /// [rows + 1], first 0, last `count`.
    public private(set) var rowOffsets: UnsafeMutablePointer<Int64>
    /// [count] columns, rising in each row.
    public private(set) var columnIndices: UnsafeMutablePointer<Int32>
    /// [count], in the order of `columnIndices`.
    public private(set) var values: UnsafeMutablePointer<Float>
    private var rowCapacity: Int
    private var capacity: Int
    private var owner: AnyObject?

    /// Codes with no entry.
    public init(rows: Int = 0, columns: Int = 0, capacity: Int = 0) {
        self.rows = rows
        self.columns = columns
        rowCapacity = rows
        self.capacity = capacity
        rowOffsets = allocateAligned(rows + 1)
        rowOffsets.initialize(repeating: 0, count: rows + 1)
        columnIndices = allocateAligned(capacity)
        values = allocateAligned(capacity)
        owner = nil
    }

    /// Codes in memory that `owner` keeps, for reading only: never to be reset or to be given more room.
    public init(
        rows: Int, columns: Int, rowOffsets: UnsafeMutablePointer<Int64>, columnIndices: UnsafeMutablePointer<Int32>,
        values: UnsafeMutablePointer<Float>, owner: AnyObject
    ) {
        self.rows = rows
        self.columns = columns
        self.rowOffsets = rowOffsets
        self.columnIndices = columnIndices
        self.values = values
        rowCapacity = rows
        capacity = Int(rowOffsets[rows])
        self.owner = owner
    }

    deinit {
        if owner != nil { return }
        free(rowOffsets)
        free(columnIndices)
        free(values)
    }

    /// Each becomes what the other is; no entry moves.
    package func exchange(with other: SparseCodes) {
        swap(&rows, &other.rows)
        swap(&columns, &other.columns)
        swap(&rowOffsets, &other.rowOffsets)
        swap(&columnIndices, &other.columnIndices)
        swap(&values, &other.values)
        swap(&rowCapacity, &other.rowCapacity)
        swap(&capacity, &other.capacity)
        swap(&owner, &other.owner)
    }

    /// Number of stored entries.
    public var count: Int { Int(rowOffsets[rows]) }

    /// The entries of row r.
    public func entries(ofRow r: Int) -> Range<Int> { Int(rowOffsets[r])..<Int(rowOffsets[r + 1]) }

    /// Takes a new shape with no entry, keeping the memory, with room for `capacity` entries.
    public func reset(rows: Int, columns: Int, capacity: Int) {
        precondition(owner == nil, "codes that belong to another are for reading only")
        if rows > rowCapacity {
            free(rowOffsets)
            rowOffsets = allocateAligned(rows + 1)
            rowCapacity = rows
        }
        self.rows = rows
        self.columns = columns
        rowOffsets.initialize(repeating: 0, count: rows + 1)
        reserve(capacity)
    }

    /// Turns the numbers of entries per row, at `rowOffsets[r + 1]`, into offsets, with room for the entries. For codes
    /// just reset: what is stored is lost.
    package func sumRowCounts() {
        var total: Int64 = 0
        for r in 0..<rows {
            total += rowOffsets[r + 1]
            rowOffsets[r + 1] = total
        }
        rowOffsets[rows] = 0
        reserve(Int(total))
        rowOffsets[rows] = total
    }

    /// Makes room for `capacity` entries; the ones there stay.
    public func reserve(_ wanted: Int) {
        guard wanted > capacity else { return }
        let grown = max(wanted, capacity + capacity / 2)
        let used = rows == 0 ? 0 : count
        let newColumns: UnsafeMutablePointer<Int32> = allocateAligned(grown)
        let newValues: UnsafeMutablePointer<Float> = allocateAligned(grown)
        newColumns.update(from: columnIndices, count: min(used, capacity))
        newValues.update(from: values, count: min(used, capacity))
        free(columnIndices)
        free(values)
        columnIndices = newColumns
        values = newValues
        capacity = grown
    }

    /// The dense [rows, columns] matrix; for files and tests.
    public func dense() -> Matrix {
        let result = Matrix(rows: rows, columns: columns)
        for r in 0..<rows {
            for e in entries(ofRow: r) { result[r, Int(columnIndices[e])] = values[e] }
        }
        return result
    }

    /// The entries of a dense matrix that are not zero.
    public convenience init(dense: Matrix) {
        self.init(rows: dense.rows, columns: dense.columns)
        var used = 0
        for r in 0..<dense.rows {
            reserveWhileFilling(used + dense.columns, used: used)
            for c in 0..<dense.columns where dense[r, c] != 0 {
                columnIndices[used] = Int32(c)
                values[used] = dense[r, c]
                used += 1
            }
            rowOffsets[r + 1] = Int64(used)
        }
    }

    private func reserveWhileFilling(_ wanted: Int, used: Int) {
        guard wanted > capacity else { return }
        let tail = rowOffsets[rows]
        rowOffsets[rows] = Int64(used)
        reserve(max(wanted, 2 * capacity))
        rowOffsets[rows] = tail
    }
}
