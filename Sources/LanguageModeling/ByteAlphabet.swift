/// The 256 characters by which byte-level vocabularies spell bytes.
///
/// GPT-2's `bytes_to_unicode`: bytes that print in Latin-1 stand for themselves, the others follow in order from
/// U+0100, so that a token never holds a space or a control character.
enum ByteAlphabet {
    /// Code point of each byte.
    static let scalars: [Unicode.Scalar] = {
        var next: UInt32 = 256
        return (0..<256).map { byte in
            switch byte {
            case 33...126, 161...172, 174...255: return Unicode.Scalar(UInt32(byte))!
            default:
                defer { next += 1 }
                return Unicode.Scalar(next)!
            }
        }
    }()

    /// Byte of each code point below 324; -1 for those that spell none.
    private static let bytes: [Int16] = {
        var table = [Int16](repeating: -1, count: 324)
        for (byte, scalar) in scalars.enumerated() { table[Int(scalar.value)] = Int16(byte) }
        return table
    }()

    /// The bytes that `token` spells; nil if one of its characters spells none.
    static func bytes(of token: String) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(token.utf8.count)
        for scalar in token.unicodeScalars {
            guard scalar.value < 324, case let byte = bytes[Int(scalar.value)], byte >= 0 else { return nil }
            result.append(UInt8(byte))
        }
        return result
    }
}
