import Glibc
import FoundationEssentials

/// Records kept as JSON: pretty, keys sorted, so that two of them can be compared line by line.
///
/// A number that is NaN or infinite, which JSON does not have, is null there, and NaN when it is read again.
public enum JSONRecord {
    /// A value as JSON text; one line unless `pretty`.
    public static func text(_ value: some Encodable, pretty: Bool = true) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: noNumber, negativeInfinity: noNumber, nan: noNumber)
        return printableJSON(String(decoding: numbersOrNull(Array(try encoder.encode(value))), as: UTF8.self))
    }

    /// Stands for a number without a value until null does; of private characters, so that no text is taken for it.
    private static let noNumber = "\u{10FFFD}no number\u{10FFFD}"

    private static func numbersOrNull(_ text: [UInt8]) -> [UInt8] {
        let mark = Array("\"\(noNumber)\"".utf8)
        var result: [UInt8] = []
        var copied = 0
        var i = 0
        while i + mark.count <= text.count {
            if text[i + 1] == mark[1], text[i..<i + mark.count].elementsEqual(mark) {
                result += text[copied..<i] + Array("null".utf8)
                i += mark.count
                copied = i
            } else {
                i += 1
            }
        }
        return result + text[copied...]
    }

    /// Writes a value, whole or not at all.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public static func write(_ value: some Encodable, to path: String) throws {
        try file(value, at: path).commit()
    }

    /// Writes a value but for the file's name: to be committed with others that belong to it.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public static func file(_ value: some Encodable, at path: String) throws -> AtomicFile {
        let file = try AtomicFile(path: path)
        try Array((try text(value) + "\n").utf8).withUnsafeBytes { try file.write($0) }
        try file.sync()
        return file
    }

    /// Reads a value. A file with a key that the value does not have is refused, unless others may put some in: it says
    /// something that would be missed.
    ///
    /// - Throws: `TensorFileError` when the file is missing or holds something else.
    public static func read<Value: Codable>(
        _ type: Value.Type, from path: String, allowingOtherKeys: Bool = false
    ) throws -> Value {
        let data: Data
        do {
            data = try Data(contentsOf: URL(filePath: path))
        } catch {
            let descriptor = open(path, O_RDONLY | O_CLOEXEC)
            let failure = descriptor < 0 ? String(cString: strerror(errno)) : "\(error)"
            if descriptor >= 0 { close(descriptor) }
            throw TensorFileError.unreadable(file: path, reason: exists(path) ? failure : "there is no such file")
        }
        func malformed(_ what: String) -> TensorFileError {
            .malformed(file: path, what: "not the record it should be: \(what)", next: "restore it or delete it")
        }
        let document: JSONValue
        do {
            document = try data.withUnsafeBytes { try JSONValue(parsing: $0) }
        } catch let error as JSONSyntaxError { throw malformed("\(error)") }
        let value: Value
        do {
            value = try decoded(type, data)
        } catch DecodingError.dataCorrupted(let context) where context.codingPath.isEmpty {
            // It is JSON, so this is all that it can be.
            throw malformed("a whole number in it is too large or has a fraction")
        } catch { throw malformed(reason(error)) }
        if !allowingOtherKeys,
            let other = try unknownKey(in: document, of: value)
        {
            throw malformed("\"\(other)\" is no key of it in this version")
        }
        return value
    }

    /// A key of `document` that the value which was read from it does not have, with its place: "plan.betas".
    public static func unknownKey(in document: JSONValue, of value: some Encodable) throws -> String? {
        unknownKey(in: document, try JSONValue(parsing: try text(value, pretty: false)))
    }

    /// A key of `document` that the record `known` does not have, with its place.
    private static func unknownKey(in document: JSONValue, _ known: JSONValue, at place: String = "") -> String? {
        switch (document, known) {
        case (.object(let members), .object(let knownMembers)):
            for (key, value) in members.sorted(by: { $0.key < $1.key }) where value != .null {
                guard let there = knownMembers[key] else { return place + key }
                if let other = unknownKey(in: value, there, at: place + key + ".") { return other }
            }
            return nil
        case (.array(let elements), .array(let knownElements)):
            for (a, b) in zip(elements, knownElements) {
                if let other = unknownKey(in: a, b, at: place) { return other }
            }
            return nil
        default: return nil
        }
    }

    /// A value of JSON text that stands in the file `path`.
    ///
    /// - Throws: `TensorFileError` when the text holds something else.
    public static func decode<Value: Decodable>(_ type: Value.Type, from text: String, in path: String) throws -> Value
    {
        try decode(type, Data(text.utf8), in: path)
    }

    /// - Throws: `DecodingError`.
    private static func decoded<Value: Decodable>(_ type: Value.Type, _ data: Data) throws -> Value {
        let decoder = JSONDecoder()
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
        do {
            return try decoder.decode(type, from: data)
        } catch DecodingError.valueNotFound(let wanted, _) where wanted is any BinaryFloatingPoint.Type {
            // A number is wanted where null is: one without a value.
            return try decoder.decode(type, from: nullAsNaN(data))
        }
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, _ data: Data, in path: String) throws -> Value {
        do {
            return try decoded(type, data)
        } catch {
            throw TensorFileError.malformed(
                file: path, what: "not the record it should be: \(reason(error))", next: "restore it or delete it")
        }
    }

    /// The document with "nan" in the place of every null outside strings.
    private static func nullAsNaN(_ data: Data) -> Data {
        let (text, null) = (Array(data), Array("null".utf8))
        var result: [UInt8] = []
        var isInString = false
        var i = 0
        while i < text.count {
            if !isInString, text[i] == null[0], text[i...].starts(with: null) {
                result += Array("\"nan\"".utf8)
                i += null.count
                continue
            }
            // What is escaped ends no string.
            let length = isInString && text[i] == UInt8(ascii: "\\") ? min(2, text.count - i) : 1
            if length == 1 && text[i] == UInt8(ascii: "\"") { isInString.toggle() }
            result += text[i..<i + length]
            i += length
        }
        return Data(result)
    }

    /// Why JSON cannot be read as a value, in words: an error that a decoder threw.
    public static func reason(_ error: any Error) -> String {
        func place(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? ".\($0.stringValue)" }.joined()
            return path.isEmpty ? "" : " at \(path.hasPrefix(".") ? String(path.dropFirst()) : path)"
        }
        switch error as? DecodingError {
        case .keyNotFound(let key, let context): return "\"\(key.stringValue)\" is missing" + place(context)
        case .typeMismatch(let type, let context): return "\(noun(type)) is wanted" + place(context)
        case .valueNotFound(let type, let context): return "\(noun(type)) is wanted, not null," + place(context)
        case .dataCorrupted(let context) where context.codingPath.isEmpty:
            // All that Foundation says of a number too large for its type, too, is "not valid JSON".
            return "it is no JSON, or a number in it does not fit"
        case .dataCorrupted(let context): return context.debugDescription + place(context)
        default: return "\(error)"
        }
    }

    /// What JSON calls a type.
    private static func noun(_ type: any Any.Type) -> String {
        switch type {
        case is String.Type: "a text"
        case is Bool.Type: "true or false"
        case is any BinaryInteger.Type: "a whole number"
        case is any BinaryFloatingPoint.Type: "a number"
        default: "\(type)".hasPrefix("Array<") ? "a list" : "an object"
        }
    }
}
