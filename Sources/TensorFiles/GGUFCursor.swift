/// Reads the little-endian fields of a GGUF header one after the other, never past the end.
struct GGUFCursor {
    let path: String
    let bytes: UnsafeRawBufferPointer
    private(set) var position = 0
    /// What is being read, for the message of an error.
    var subject = "the header"

    init(path: String, bytes: UnsafeRawBufferPointer) {
        self.path = path
        self.bytes = bytes
    }

    var remaining: Int { bytes.count - position }

    mutating func number<Number: FixedWidthInteger>(_: Number.Type) throws -> Number {
        let width = MemoryLayout<Number>.size
        guard remaining >= width else { throw truncated() }
        defer { position += width }
        return Number(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Number.self))
    }

    /// A count of things that take at least `size` bytes each. Refused here if they cannot fit in what is left of
    /// the file, so that nothing is ever allocated on the word of a bad count.
    mutating func count(ofSize size: Int, _ what: String) throws -> Int {
        let number = try number(UInt64.self)
        guard number <= UInt64(remaining / size) else {
            throw malformed(
                "\(subject) claims \(number) \(what), but only \(remaining) bytes of the file are left")
        }
        return Int(number)
    }

    mutating func string() throws -> String {
        let length = try count(ofSize: 1, "bytes of text")
        let text = UnsafeRawBufferPointer(rebasing: bytes[position..<position + length])
        position += length
        guard let string = String(validating: text.bindMemory(to: UInt8.self), as: UTF8.self) else {
            throw malformed("\(subject) holds text that is not UTF-8, before byte \(position)")
        }
        return string
    }

    mutating func value() throws -> GGUFValue {
        let type = try number(UInt32.self)
        switch type {
        case 8: return .string(try string())
        case 9: return try array()
        case 7: return .boolean(try truth())
        case 6, 12: return .real(try real(type))
        default: return .integer(try integer(type))
        }
    }

    private mutating func array() throws -> GGUFValue {
        let type = try number(UInt32.self)
        switch type {
        case 8:
            let count = try count(ofSize: 8, "texts")
            return .strings(try (0..<count).map { _ in try string() })
        case 9: throw malformed("\(subject) is an array of arrays, which no known model needs")
        case 7:
            let count = try count(ofSize: 1, "truth values")
            return .booleans(try (0..<count).map { _ in try truth() })
        case 6, 12:
            let count = try count(ofSize: type == 6 ? 4 : 8, "numbers")
            return .reals(try (0..<count).map { _ in try real(type) })
        default:
            let count = try count(ofSize: width(ofInteger: type), "integers")
            return .integers(try (0..<count).map { _ in try integer(type) })
        }
    }

    private func width(ofInteger type: UInt32) throws -> Int {
        switch type {
        case 0, 1: return 1
        case 2, 3: return 2
        case 4, 5: return 4
        case 10, 11: return 8
        default: throw malformed("\(subject) has value type \(type), which GGUF does not define")
        }
    }

    private mutating func integer(_ type: UInt32) throws -> Int {
        switch type {
        case 0: return Int(try number(UInt8.self))
        case 1: return Int(try number(Int8.self))
        case 2: return Int(try number(UInt16.self))
        case 3: return Int(try number(Int16.self))
        case 4: return Int(try number(UInt32.self))
        case 5: return Int(try number(Int32.self))
        case 10:
            let value = try number(UInt64.self)
            guard let result = Int(exactly: value) else { throw malformed("\(subject) is \(value): too large") }
            return result
        case 11: return Int(try number(Int64.self))
        default: throw malformed("\(subject) has value type \(type), which GGUF does not define")
        }
    }

    private mutating func real(_ type: UInt32) throws -> Double {
        if type == 6 { return Double(Float(bitPattern: try number(UInt32.self))) }
        return Double(bitPattern: try number(UInt64.self))
    }

    private mutating func truth() throws -> Bool {
        let value = try number(UInt8.self)
        guard value <= 1 else { throw malformed("\(subject) is a truth value of \(value)") }
        return value == 1
    }

    func truncated() -> TensorFileError { malformed("the file ends at byte \(bytes.count), inside \(subject)") }

    func malformed(_ detail: String) -> TensorFileError {
        .malformed(file: path, what: detail, next: "fetch or convert it again")
    }
}
