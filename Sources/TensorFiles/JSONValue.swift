/// A JSON document (RFC 8259) as a value.
///
/// Read strictly: a repeated key, anything after the document, or text that is not UTF-8 is refused, because two
/// readers of the same header must not see two different files. Keys compare as Swift strings, so two spellings of
/// one character (composed and decomposed) count as a repetition.
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// A number written without fraction or exponent that fits.
    case integer(Int)
    /// Any other number.
    case number(Double)
    /// With its escapes resolved.
    case string(String)
    case array([JSONValue])
    /// Members by key; no key is there twice.
    case object([String: JSONValue])

    /// Parses a document; throws `JSONSyntaxError`.
    ///
    /// - Parameter listed: keys whose objects are read as lists of key, value, key, value, … in their order, for
    ///   vocabularies, where two spellings of one character are two keys. A repetition is then the caller's to find.
    public init(parsing bytes: UnsafeRawBufferPointer, listing listed: Set<String> = []) throws {
        var parser = JSONParser(bytes: bytes, listed: listed)
        self = try parser.document()
    }

    /// Parses a document; throws `JSONSyntaxError`.
    public init(parsing text: String) throws {
        self = try Array(text.utf8).withUnsafeBytes { try JSONValue(parsing: $0) }
    }

    /// Parses a file, as `init(parsing:listing:)` does; throws `TensorFileError`.
    public init(contentsOf path: String, listing listed: Set<String> = []) throws {
        let file = try MappedFile(path: path)
        do {
            self = try JSONValue(parsing: file.slice(0..<file.count), listing: listed)
        } catch let error as JSONSyntaxError {
            throw TensorFileError.malformed(
                file: path, what: "not JSON: \(error)",
                next: file.count == error.offset ? "check that the file was copied whole" : "correct it there")
        }
    }

    /// The member `key` of an object; nil for other values and for members that are absent.
    public subscript(key: String) -> JSONValue? {
        if case .object(let members) = self { members[key] } else { nil }
    }

    /// The text of a string.
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The value of an integer; `12.0` is none.
    public var integer: Int? { if case .integer(let value) = self { value } else { nil } }
    /// The value of any number.
    public var double: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
    /// The value of a truth value.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The elements of a list.
    public var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    /// The members of an object.
    public var object: [String: JSONValue]? { if case .object(let value) = self { value } else { nil } }

    /// The value for a message: what was written, lists and objects as such.
    public var shown: String {
        switch self {
        case .null: "null"
        case .bool(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string(let value): "\"\(value)\""
        case .array: "a list"
        case .object: "an object"
        }
    }

    /// `text` in quotes, escaped as JSON wants it.
    package static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

/// Where and why a text is not JSON.
public struct JSONSyntaxError: Error, CustomStringConvertible, Sendable, Equatable {
    /// What was found.
    public let what: String
    /// Position of the byte it was found at.
    public let offset: Int

    /// For messages: "a repeated key "a" at byte 12".
    public var description: String { "\(what) at byte \(offset)" }
}
