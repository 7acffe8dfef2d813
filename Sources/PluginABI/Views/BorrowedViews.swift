import CDMSAE
import LinearAlgebra

/// C views of host memory for one call: they own the small structs and shapes, and none of the data.
struct BorrowedViews: ~Copyable {
    private let tensors: UnsafeMutablePointer<dmsae_tensor>
    private let extents: UnsafeMutablePointer<Int64>
    private let capacity: Int
    private var used = 0
    private let flags: UInt64

    /// DMSAE_TENSOR_CONTIGUOUS as plugins have it that demand a host of 0.3, and its older place, DLPack's IS_COPIED.
    private static let contiguous: UInt64 = 0x100, olderContiguous: UInt64 = 0x2

    /// Room for `capacity` tensors, for a plugin that demands a host of `minor` (DMSAE-TENSOR-03).
    init(capacity: Int, minor: UInt32) {
        self.capacity = capacity
        flags = DMSAE_TENSOR_READ_ONLY | Self.contiguous | (minor >= 3 ? 0 : Self.olderContiguous)
        tensors = .allocate(capacity: capacity)
        extents = .allocate(capacity: 4 * capacity)
    }

    deinit {
        tensors.deallocate()
        extents.deallocate()
    }

    /// The first `rows` rows of a matrix, [rows, columns].
    mutating func matrix(_ matrix: Matrix, rows: Int) -> UnsafePointer<dmsae_tensor> {
        precondition(rows <= matrix.rows, "\(rows) of \(matrix.rows) rows")
        return add(matrix, shape: [rows, matrix.columns], strides: [matrix.columns, 1])
    }

    /// A matrix of one row as a vector of its first `count` numbers, all of them unless told otherwise.
    mutating func vector(_ matrix: Matrix, count: Int? = nil) -> UnsafePointer<dmsae_tensor> {
        let count = count ?? matrix.columns
        precondition(matrix.rows == 1 && count <= matrix.columns, "a vector of \(matrix.rows) rows")
        return add(matrix, shape: [count], strides: [1])
    }

    private mutating func add(_ matrix: Matrix, shape: [Int], strides: [Int]) -> UnsafePointer<dmsae_tensor> {
        precondition(used < capacity, "room for \(capacity) tensors")
        let shapeMemory = extents + 4 * used, stridesMemory = shapeMemory + 2
        for (i, extent) in shape.enumerated() { (shapeMemory + i).initialize(to: Int64(extent)) }
        for (i, stride) in strides.enumerated() { (stridesMemory + i).initialize(to: Int64(stride)) }
        (tensors + used).initialize(
            to: dmsae_tensor(
                data: UnsafeMutableRawPointer(matrix.elements), device: dmsae_device(type: DMSAE_DEVICE_CPU, id: 0),
                ndim: Int32(shape.count), dtype: dmsae_dtype(code: UInt8(DMSAE_DTYPE_FLOAT), bits: 32, lanes: 1),
                shape: shapeMemory, strides: stridesMemory, byte_offset: 0,
                flags: flags, sync: nil, reserved: (0, 0, 0)))
        used += 1
        return UnsafePointer(tensors + used - 1)
    }
}

extension dmsae_csr {
    /// A view of `codes`.
    package init(_ codes: SparseCodes) {
        self.init(
            rows: Int64(codes.rows), columns: Int64(codes.columns), count: Int64(codes.count),
            row_offsets: codes.rowOffsets, column_indices: codes.columnIndices, values: codes.values, reserved: (0, 0))
    }
}

extension SparseCodes {
    /// Row and column of entry `e`, for messages.
    package func position(of e: Int) -> (row: Int, column: Int) {
        var row = 0
        while Int(rowOffsets[row + 1]) <= e { row += 1 }
        return (row, Int(columnIndices[e]))
    }
}
