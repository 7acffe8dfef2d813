import LinearAlgebra

extension GGUFFile {
    /// Tensor `name` in single precision, `[out, in]`; a vector is a matrix of one row.
    ///
    /// Rows are shared out to the lanes. Throws `TensorFileError` if there is no such tensor or it has more than two
    /// dimensions. Values are not checked: a file may hold NaN.
    public func matrix(_ name: String) throws -> Matrix {
        guard let tensor = tensors[name] else {
            throw TensorFileError.missingTensor(file: path, name: name, present: Array(tensors.keys))
        }
        guard tensor.shape.count <= 2 else {
            throw TensorFileError.wrongShape(file: path, name: name, found: tensor.shape, wanted: [nil, nil])
        }
        let columns = tensor.shape.last!
        let result = Matrix(rows: tensor.shape.count == 2 ? tensor.shape[0] : 1, columns: columns)
        let source = file.bytes + tensor.byteRange.lowerBound
        let rowBytes = columns / tensor.elementType.blockLength * tensor.elementType.blockBytes
        Lanes.shared.forRanges(result.rows) { _, rows in
            GGUFBlocks.expand(
                source + rows.lowerBound * rowBytes, tensor.elementType, into: result.row(rows.lowerBound),
                count: rows.count * columns)
        }
        return result
    }
}
