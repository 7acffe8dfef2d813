import LinearAlgebra

/// A file of `numpy.savez`: arrays in a ZIP archive, each as NumPy's own format has it (NEP 1), stored or deflated.
///
/// Arrays of little-endian floats are read, in C or Fortran order. Objects, which are pickles, are refused.
package struct NumpyArchive {
    /// As given by the caller; for messages.
    package let path: String
    private let archive: ZipArchive

    /// Opens the archive. Throws `TensorFileError`.
    package init(path: String) throws {
        self.path = path
        archive = try ZipArchive(path: path)
    }

    /// The arrays' names, without `.npy`.
    package var names: [String] {
        archive.names.map { $0.hasSuffix(".npy") ? String($0.dropLast(4)) : $0 }
    }

    /// The array `name`, which must have `shape`; nil is any size. A vector is one row.
    ///
    /// - Throws: `TensorFileError`.
    package func matrix(_ name: String, shape: [Int?]) throws -> Matrix {
        guard archive.names.contains(name + ".npy") else {
            throw TensorFileError.missingTensor(file: path, name: name, present: names)
        }
        let contents = try archive.contents(name + ".npy")
        let header = try NumpyHeader(contents.bytes, name: name, path: path)
        guard shape.count == header.shape.count, zip(shape, header.shape).allSatisfy({ $0 == nil || $0 == $1 }),
            (1...2).contains(header.shape.count)
        else {
            throw TensorFileError.wrongShape(file: path, name: name, found: header.shape, wanted: shape)
        }
        let (rows, columns) = (header.shape.count == 2 ? header.shape[0] : 1, header.shape.last!)
        guard header.type.isFloatingPoint, rows <= Int(Int32.max), columns <= Int(Int32.max) else {
            throw TensorFileError.unsupported(
                file: path, what: "array \"\(name)\" is of type \(header.description) and shape \(header.shape)",
                next: "save it as little-endian floats (\"<f4\")")
        }
        let source = UnsafeRawPointer(contents.bytes.baseAddress!) + header.length
        func number(_ i: Int) -> Float {
            switch header.type {
            case .f64: Float(source.loadUnaligned(fromByteOffset: 8 * i, as: Double.self))
            case .f32: source.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
            default: widenHalf(source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
            }
        }
        let result = Matrix(rows: rows, columns: columns)
        for r in 0..<rows {
            for c in 0..<columns { result[r, c] = number(header.isFortran ? c * rows + r : r * columns + c) }
        }
        return result
    }
}
