/// What stands before an array's numbers: `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
struct NumpyHeader {
    /// Bytes before the numbers.
    let length: Int
    let type: TensorType
    /// The type in NumPy's words.
    let description: String
    let isFortran: Bool
    let shape: [Int]

    private static let types: [String: TensorType] = [
        "<f8": .f64, "<f4": .f32, "<f2": .f16, "<i8": .i64, "<i4": .i32, "<i2": .i16, "|i1": .i8, "<u8": .u64,
        "<u4": .u32, "<u2": .u16, "|u1": .u8,
    ]

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
        guard let type = Self.types[found.type] else {
            throw TensorFileError.unsupported(
                file: path, what: "array \"\(name)\" is of type \(found.type)",
                next: "save it as little-endian floats (\"<f4\"), or token ids as whole numbers (\"<i4\")")
        }
        (self.type, description, isFortran, shape) = (type, found.type, found.isFortran, found.shape)
        var (count, overflow) = (type.size, false)
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
            guard let number = Int(digits), number <= 1 << 48, result.count < 8 else { return nil }
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
