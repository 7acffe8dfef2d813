/// The three kinds of character that pre-tokenizer patterns tell apart, and the rest.
enum ScalarClass: UInt8 {
    /// Punctuation, symbols, marks, controls, unassigned; also a byte that is not UTF-8.
    case other
    /// `\p{L}`: general categories Lu, Ll, Lt, Lm, Lo.
    case letter
    /// `\p{N}`: general categories Nd, Nl, No.
    case number
    /// `\s`: the property White_Space.
    case space

    init(_ scalar: Unicode.Scalar) {
        let properties = scalar.properties
        if properties.isWhitespace {
            self = .space
            return
        }
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: self = .letter
        case .decimalNumber, .letterNumber, .otherNumber: self = .number
        default: self = .other
        }
    }

    /// Classes of the basic multilingual plane: looking up properties costs tens of nanoseconds a character, a table
    /// of 64 KiB one.
    static let table: [ScalarClass] = (0..<65536).map { Unicode.Scalar(UInt32($0)).map(ScalarClass.init) ?? .other }

    /// Class and length in bytes of the character at `position`; a byte that does not begin a valid sequence is a
    /// character of its own.
    @inline(__always)
    static func decode(
        _ bytes: UnsafeBufferPointer<UInt8>, at position: Int, _ table: UnsafePointer<ScalarClass>
    ) -> (class: ScalarClass, length: Int) {
        let first = bytes[position]
        if first < 0x80 { return (table[Int(first)], 1) }
        return decodeLong(bytes, at: position, table)
    }

    private static func decodeLong(
        _ bytes: UnsafeBufferPointer<UInt8>, at position: Int, _ table: UnsafePointer<ScalarClass>
    ) -> (class: ScalarClass, length: Int) {
        let first = UInt32(bytes[position])
        let length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2
        guard first >= 0xC2, first <= 0xF4, position + length <= bytes.count else { return (.other, 1) }
        var value = first & (0x7F >> UInt32(length))
        for offset in 1..<length {
            let next = UInt32(bytes[position + offset])
            guard next & 0xC0 == 0x80 else { return (.other, 1) }
            value = value << 6 | next & 0x3F
        }
        // Overlong forms, surrogates and values past U+10FFFF are not UTF-8.
        let least: UInt32 = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0x80
        guard value >= least, let scalar = Unicode.Scalar(value) else { return (.other, 1) }
        return (value < 0x10000 ? table[Int(value)] : ScalarClass(scalar), length)
    }
}
