import LinearAlgebra

/// The shape of codes.
package struct CodesHeader: Codable {
    package var rows: Int
    package var columns: Int

    init(_ codes: SparseCodes) { (rows, columns) = (codes.rows, codes.columns) }

    /// The codes in three blocks from `first`, which are checked (DMSAE-CSR-01 and 02 are what keeps a reader inside).
    package func codes(_ arena: Arena, from first: Int) throws -> SparseCodes {
        let offsets = try arena.buffer(first, Int64.self, count: rows + 1)
        guard offsets.first == 0, zip(offsets, offsets.dropFirst()).allSatisfy({ $0 <= $1 }) else {
            throw Arena.Malformed(reason: "row offsets")
        }
        let count = Int(offsets[rows])
        let indices = try arena.buffer(first + 1, Int32.self, count: count)
        let values = try arena.buffer(first + 2, Float.self, count: count)
        return SparseCodes(
            rows: rows, columns: columns, rowOffsets: pointer(offsets), columnIndices: pointer(indices),
            values: pointer(values), owner: arena)
    }
}

/// The start of a block as the classes want it; they only read it.
func pointer<Element>(_ buffer: UnsafeBufferPointer<Element>) -> UnsafeMutablePointer<Element> {
    UnsafeMutablePointer(mutating: buffer.baseAddress ?? UnsafePointer(bitPattern: 64)!)
}

extension ArenaBlocks {
    /// Adds the three arrays of codes.
    mutating func add(_ codes: SparseCodes) {
        add(codes.rowOffsets, bytes: 8 * (codes.rows + 1), owner: codes)
        add(codes.columnIndices, bytes: 4 * codes.count, owner: codes)
        add(codes.values, bytes: 4 * codes.count, owner: codes)
    }

    /// Adds the first numbers of a matrix, of none if there is none.
    mutating func add(_ matrix: Matrix?, count: Int) {
        guard let matrix else { return add([Float]()) }
        add(matrix.elements, bytes: 4 * count, owner: matrix)
    }

    /// Adds the first rows of a matrix.
    mutating func add(_ matrix: Matrix, rows: Int) {
        add(matrix.elements, bytes: 4 * rows * matrix.columns, owner: matrix)
    }
}
