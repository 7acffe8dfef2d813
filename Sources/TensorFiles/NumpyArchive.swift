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
        let source = UnsafeRawPointer(contents.bytes.baseAddress!) + header.length
        func number(_ i: Int) -> Float {
            switch header.size {
            case 8: Float(source.loadUnaligned(fromByteOffset: 8 * i, as: Double.self))
            case 4: source.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
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

/// What stands before an array's numbers: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
private struct NumpyHeader {
    /// Bytes before the numbers.
    let length: Int
    /// Bytes of a number.
    let size: Int
    let isFortran: Bool
    let shape: [Int]

    init(_ bytes: UnsafeRawBufferPointer, name: String, path: String) throws {
        func malformed(_ what: String) -> TensorFileError {
            .malformed(file: path, what: "array \"\(name)\" \(what)", next: "fetch it again")
        }
        guard bytes.count >= 12, bytes.prefix(6).elementsEqual([0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]),
            (1...3).contains(bytes[6])
        else { throw malformed("is not in NumPy's format, version 1 to 3") }
        let fieldSize = bytes[6] == 1 ? 2 : 4
        let textLength = (0..<fieldSize).reduce(0) { $0 | Int(bytes[8 + $1]) << (8 * $1) }
        length = 8 + fieldSize + textLength
        guard length <= bytes.count else { throw malformed("ends too early") }
        let text = String(decoding: bytes[8 + fieldSize..<length], as: UTF8.self)
        var fields = NumpyFields(text)
        guard let found = fields.parse() else { throw malformed("has a header that is not NumPy's") }
        guard let size = ["<f8": 8, "<f4": 4, "<f2": 2][found.type] else {
            throw TensorFileError.unsupported(
                file: path, what: "array \"\(name)\" is of type \(found.type)",
                next: "save it as little-endian floats (\"<f4\")")
        }
        (self.size, isFortran, shape) = (size, found.isFortran, found.shape)
        var (count, overflow) = (size, false)
        for length in shape where !overflow { (count, overflow) = count.multipliedReportingOverflow(by: length) }
        guard !overflow, count == bytes.count - length else {
            throw malformed("of shape \(shape) does not fill its \(bytes.count - length) bytes")
        }
    }
}

/// A scanner for the header, which is a Python literal of three known members.
private struct NumpyFields {
    private var rest: Substring

    init(_ text: String) { rest = Substring(text) }

    private mutating func skip(_ text: String) -> Bool {
        while rest.first == " " { rest = rest.dropFirst() }
        guard rest.hasPrefix(text) else { return false }
        rest = rest.dropFirst(text.count)
        return true
    }

    private mutating func quoted() -> String? {
        guard skip("'"), let end = rest.firstIndex(of: "'") else { return nil }
        defer { rest = rest[rest.index(after: end)...] }
        return String(rest[..<end])
    }

    private mutating func numbers() -> [Int]? {
        guard skip("(") else { return nil }
        var result: [Int] = []
        while !skip(")") {
            while rest.first == " " { rest = rest.dropFirst() }
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            guard let number = Int(digits), number <= Int(Int32.max), result.count < 8 else { return nil }
            rest = rest.dropFirst(digits.count)
            result.append(number)
            guard skip(",") || rest.first == ")" else { return nil }
        }
        return result
    }

    mutating func parse() -> (type: String, isFortran: Bool, shape: [Int])? {
        var (type, isFortran, shape): (String?, Bool?, [Int]?) = (nil, nil, nil)
        guard skip("{") else { return nil }
        while !skip("}") {
            guard let key = quoted(), skip(":") else { return nil }
            switch key {
            case "descr" where type == nil: type = quoted()
            case "fortran_order" where isFortran == nil: isFortran = skip("True") ? true : skip("False") ? false : nil
            case "shape" where shape == nil: shape = numbers()
            default: return nil
            }
            guard skip(",") || rest.hasPrefix("}") else { return nil }
        }
        guard let type, let isFortran, let shape else { return nil }
        return (type, isFortran, shape)
    }
}
