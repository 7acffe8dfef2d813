/// A recursive-descent reader of RFC 8259.
///
/// By hand, since Foundation's passes over repeated keys and gives no place for what is wrong: two readers of one
/// header must not see two files.
struct JSONParser {
    /// Deeper nesting is refused: each level is a stack frame, and no file we read has more than a dozen.
    static let deepest = 128

    private let bytes: UnsafeRawBufferPointer
    /// Keys whose objects are read as lists.
    private let listed: Set<String>
    private var at = 0

    init(bytes: UnsafeRawBufferPointer, listed: Set<String>) { (self.bytes, self.listed) = (bytes, listed) }

    mutating func document() throws -> JSONValue {
        // Windows editors and some exporters put it before UTF-8; RFC 8259 lets a reader pass over it.
        if bytes.starts(with: byteOrderMark) { at = byteOrderMark.count }
        if let other = unreadableEncoding(bytes) { throw error("\(other) text, where UTF-8 is wanted") }
        let result = try value(depth: 0)
        skipSpace()
        if at < bytes.count { throw error("something after the document") }
        return result
    }

    private mutating func value(depth: Int) throws -> JSONValue {
        skipSpace()
        guard depth < Self.deepest else { throw error("more than \(Self.deepest) levels of nesting") }
        switch peek {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw error("the end of the text where a value was expected")
        case 0xEF? where bytes[at...].starts(with: byteOrderMark): throw error("a byte-order mark")
        default: return try number()
        }
    }

    private mutating func object(depth: Int) throws -> JSONValue {
        var members: [String: JSONValue] = [:]
        try forEachMember(depth: depth) { key, member, start in
            if members.updateValue(member, forKey: key) != nil {
                throw JSONSyntaxError(what: "a repeated key \(JSONValue.quoted(key))", offset: start)
            }
        }
        return .object(members)
    }

    private mutating func list(depth: Int) throws -> JSONValue {
        var members: [JSONValue] = []
        try forEachMember(depth: depth) { key, member, _ in members += [.string(key), member] }
        return .array(members)
    }

    private mutating func forEachMember(
        depth: Int, _ body: (_ key: String, _ member: JSONValue, _ start: Int) throws -> Void
    ) throws {
        at += 1
        skipSpace()
        if take("}") { return }
        while true {
            skipSpace()
            let start = at
            guard peek == UInt8(ascii: "\"") else { throw error("no key where one was expected") }
            let key = try string()
            skipSpace()
            guard take(":") else { throw error("no colon after a key") }
            skipSpace()
            let isListed = !listed.isEmpty && listed.contains(key) && peek == UInt8(ascii: "{")
            try body(key, isListed ? try list(depth: depth + 1) : try value(depth: depth + 1), start)
            skipSpace()
            if take("}") { return }
            guard take(",") else { throw error("neither a comma nor a closing brace") }
        }
    }

    private mutating func array(depth: Int) throws -> JSONValue {
        at += 1
        var elements: [JSONValue] = []
        skipSpace()
        if take("]") { return .array(elements) }
        while true {
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if take("]") { return .array(elements) }
            guard take(",") else { throw error("neither a comma nor a closing bracket") }
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws -> JSONValue {
        let end = at + text.utf8CodeUnitCount
        guard end <= bytes.count, (at..<end).allSatisfy({ bytes[$0] == text.utf8Start[$0 - at] }) else {
            throw unknownWord()
        }
        at = end
        return value
    }

    // number = [ minus ] int [ frac ] [ exp ]
    private mutating func number() throws -> JSONValue {
        let start = at
        var isInteger = true
        _ = take("-")
        let first = at
        guard skipDigits() > 0 else {
            at = start
            throw unknownWord()
        }
        if bytes[first] == UInt8(ascii: "0"), at - first > 1 { throw error("a number with a leading zero") }
        if take(".") {
            isInteger = false
            guard skipDigits() > 0 else { throw error("no digit after a decimal point") }
        }
        if take("e") || take("E") {
            isInteger = false
            if !take("+") { _ = take("-") }
            guard skipDigits() > 0 else { throw error("no digit in an exponent") }
        }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        if isInteger, let value = Int(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw error("a number too large to represent") }
        return .number(value)
    }

    private mutating func string() throws -> String {
        at += 1
        let start = at
        // Most strings hold no escape: those are one slice.
        while let byte = peek, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 { at += 1 }
        if peek == UInt8(ascii: "\"") {
            let text = try valid(UnsafeRawBufferPointer(rebasing: bytes[start..<at]))
            at += 1
            return text
        }
        var collected = Array(bytes[start..<at])
        while let byte = peek {
            switch byte {
            case UInt8(ascii: "\""):
                let text = try collected.withUnsafeBytes { try valid($0) }
                at += 1
                return text
            case UInt8(ascii: "\\"):
                at += 1
                try escape(into: &collected)
            case 0..<0x20: throw error("a control character inside a string")
            default:
                let plain = at
                while let byte = peek, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 { at += 1 }
                collected += bytes[plain..<at]
            }
        }
        throw error("the end of the text inside a string")
    }

    private mutating func escape(into collected: inout [UInt8]) throws {
        guard let letter = peek else { throw error("the end of the text inside a string") }
        at += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): collected.append(letter)
        case UInt8(ascii: "b"): collected.append(8)
        case UInt8(ascii: "f"): collected.append(12)
        case UInt8(ascii: "n"): collected.append(10)
        case UInt8(ascii: "r"): collected.append(13)
        case UInt8(ascii: "t"): collected.append(9)
        case UInt8(ascii: "u"):
            var code = try hexadecimal()
            if (0xD800..<0xDC00).contains(code) {
                guard take("\\"), take("u") else { throw error("half of a surrogate pair, which is no character,") }
                let low = try hexadecimal()
                guard (0xDC00..<0xE000).contains(low) else {
                    throw error("half of a surrogate pair, which is no character,")
                }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else {
                throw error("half of a surrogate pair, which is no character,")
            }
            collected.append(contentsOf: UTF8.encode(scalar)!)
        default: throw error("an unknown escape")
        }
    }

    private mutating func hexadecimal() throws -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw error("an escape without four hexadecimal digits")
            }
            code = code << 4 | UInt32(digit)
            at += 1
        }
        return code
    }

    private func valid(_ text: UnsafeRawBufferPointer) throws -> String {
        guard let result = String(validating: text.bindMemory(to: UInt8.self), as: UTF8.self) else {
            throw error("text that is not UTF-8 before the end of a string")
        }
        return result
    }

    private var peek: UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard peek == UInt8(ascii: character) else { return false }
        at += 1
        return true
    }

    private mutating func skipDigits() -> Int {
        let start = at
        while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { at += 1 }
        return at - start
    }

    private mutating func skipSpace() {
        while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { at += 1 }
    }

    /// Python writes NaN and Infinity into what it calls JSON, and people write True and None.
    private func unknownWord() -> JSONSyntaxError {
        let word = String(
            decoding: bytes[at...].prefix(9).prefix(while: { Character(Unicode.Scalar($0)).isLetter || $0 == 0x2D }),
            as: UTF8.self)
        switch word {
        case "NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "-NaN", "-nan":
            return error("the number \(word), which JSON does not have,")
        case "": return error("no value where one was expected")
        default: return error("the unknown word \(word)")
        }
    }

    private func error(_ what: String) -> JSONSyntaxError { JSONSyntaxError(what: what, offset: at) }
}
