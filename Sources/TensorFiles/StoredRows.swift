import Kernels
import LinearAlgebra

/// A matrix in the form that a file has it, where it lies; a vector is a matrix of one row.
package struct StoredRows: @unchecked Sendable {
    package let format: NumberFormat
    package let rows: Int
    package let columns: Int
    /// Row r begins at byte r·`rowBytes`; valid while `owner` lives.
    package let bytes: UnsafeRawPointer
    private let owner: AnyObject

    /// Rows of whole blocks that the caller knows to lie in memory of `owner`.
    package init(_ bytes: UnsafeRawPointer, _ format: NumberFormat, rows: Int, columns: Int, owner: AnyObject) {
        (self.bytes, self.format, self.rows, self.columns, self.owner) = (bytes, format, rows, columns, owner)
    }

    /// Numbers that are in single precision already.
    package init(_ matrix: Matrix) {
        self.init(matrix.elements, .f32, rows: matrix.rows, columns: matrix.columns, owner: matrix)
    }

    package var rowBytes: Int { format.bytes(columns) }

    /// All of it in single precision, in memory of its own.
    package func matrix() -> Matrix {
        let result = Matrix(rows: rows, columns: columns)
        // By blocks, not rows: a vector is shared out too.
        let (length, blockBytes) = (format.blockLength, format.blockBytes)
        Lanes.shared.forRanges(result.count / length, grain: max(1, 4096 / length)) { _, blocks in
            kernels.expand(
                bytes + blocks.lowerBound * blockBytes, format, result.elements + blocks.lowerBound * length,
                blocks.count * length)
        }
        return result
    }
}

extension GGUFFile {
    /// Tensor `name` as it is stored, `[out, in]`.
    ///
    /// - Throws: `TensorFileError` if there is no such tensor or it has more than two dimensions. Values are not checked: a file may hold NaN.
    package func rows(_ name: String) throws -> StoredRows {
        guard let tensor = tensors[name] else {
            throw TensorFileError.missingTensor(file: path, name: name, present: Array(tensors.keys))
        }
        guard tensor.shape.count <= 2 else {
            throw TensorFileError.wrongShape(file: path, name: name, found: tensor.shape, wanted: [nil, nil])
        }
        return StoredRows(
            file.bytes + tensor.byteRange.lowerBound, tensor.elementType,
            rows: tensor.shape.count == 2 ? tensor.shape[0] : 1,
            columns: tensor.shape.last!, owner: file)
    }

    /// The same in single precision.
    public func matrix(_ name: String) throws -> Matrix { try rows(name).matrix() }
}

extension SafetensorsFile {
    /// A floating-point tensor as it is stored, rows and columns as `matrix` has them; one in double precision is rounded.
    ///
    /// - Throws: `TensorFileError`.
    package func rows(_ name: String) throws -> StoredRows {
        let tensor = try require(name)
        guard let format = tensor.type.format else { return StoredRows(try matrix(name)) }
        return StoredRows(bytes(name), format, rows: tensor.rows, columns: tensor.columns, owner: self)
    }
}

extension TensorType {
    /// The form that a weight of it has in memory; nil for one that is rounded to single precision, and for whole numbers.
    package var format: NumberFormat? {
        switch self {
        case .f32: .f32
        case .f16: .f16
        case .bf16: .bf16
        case .f64, .i64, .i32, .i16, .i8, .u64, .u32, .u16, .u8, .bool: nil
        }
    }
}
