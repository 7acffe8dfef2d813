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
            expand(
                source + rows.lowerBound * rowBytes, tensor.elementType, into: result.row(rows.lowerBound),
                count: rows.count * columns)
        }
        return result
    }
}

/// Writes `count` elements stored as `type` at `source` to `target`. Each product and sum is one single-precision
/// operation, as in ggml's reference code, so that a converted model has the same bits here as elsewhere.
private func expand(
    _ source: UnsafeRawPointer, _ type: GGUFElementType, into target: UnsafeMutablePointer<Float>, count: Int
) {
    switch type {
    case .f32:
        UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: count * 4)
    case .f16:
        for i in 0..<count { target[i] = half(source, 2 * i) }
    case .q4_0:
        expandBlocks(source, bytes: 18, target, count) { block, output in
            let d = half(block, 0)
            nibbles(block + 2) { i, q in output[i] = d * (q - 8) }
        }
    case .q4_1:
        expandBlocks(source, bytes: 20, target, count) { block, output in
            let d = half(block, 0)
            let m = half(block, 2)
            nibbles(block + 4) { i, q in output[i] = d * q + m }
        }
    case .q8_0:
        expandBlocks(source, bytes: 34, target, count) { block, output in
            let d = half(block, 0)
            for i in 0..<32 { output[i] = d * Float(block.load(fromByteOffset: 2 + i, as: Int8.self)) }
        }
    }
}

@inline(__always)
private func expandBlocks(
    _ source: UnsafeRawPointer, bytes: Int, _ target: UnsafeMutablePointer<Float>, _ count: Int,
    _ body: (UnsafeRawPointer, UnsafeMutablePointer<Float>) -> Void
) {
    for block in 0..<count / 32 { body(source + block * bytes, target + block * 32) }
}

/// The low nibbles of 16 bytes are elements 0..<16, the high nibbles 16..<32.
@inline(__always)
private func nibbles(_ bytes: UnsafeRawPointer, _ body: (Int, Float) -> Void) {
    for i in 0..<16 {
        let byte = bytes.load(fromByteOffset: i, as: UInt8.self)
        body(i, Float(byte & 15))
        body(i + 16, Float(byte >> 4))
    }
}

@inline(__always)
private func half(_ base: UnsafeRawPointer, _ offset: Int) -> Float {
    widenHalf(UInt16(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
}
