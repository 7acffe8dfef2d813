/// The index at the start of a safetensors file, read with every claim checked and written as the library writes it.
///
/// The file is: 8 bytes header length N (little-endian), N bytes of JSON, data. The JSON maps each name to
/// `{"dtype", "shape", "data_offsets": [begin, end]}`, offsets counted from the start of the data, and may hold
/// `__metadata__`, a map of strings. (github.com/huggingface/safetensors, README "Format")
struct SafetensorsHeader {
    /// The library's own limit; a longer header is a corrupt length.
    static let longest = 100_000_000

    /// A tensor and the bytes of the file that hold it.
    struct Entry {
        let description: TensorDescription
        let bytes: Range<Int>
    }

    let entries: [String: Entry]
    let metadata: [String: String]

    /// Reads and checks the header: afterwards every entry's bytes lie in the file, are exactly its shape's, and
    /// together they cover the data without overlap or gap.
    init(reading file: MappedFile) throws {
        func malformed(_ what: String) -> TensorFileError {
            .malformed(file: file.path, what: what, next: "copy or download the file again")
        }
        try refuseGitPointer(file)
        guard file.count >= 8 else {
            throw malformed("\(file.count) bytes are too few for a safetensors file")
        }
        let length = UInt64(littleEndian: file.bytes.loadUnaligned(as: UInt64.self))
        guard length <= UInt64(Self.longest) else {
            throw malformed("a header of \(length) bytes is not plausible, so this is not a safetensors file")
        }
        let dataStart = 8 + Int(length)
        guard dataStart <= file.count else {
            throw malformed("the header should take \(length) bytes and the file ends after \(file.count - 8) of them")
        }
        let root: [String: JSONValue]
        do {
            guard case .object(let members) = try JSONValue(parsing: file.slice(8..<dataStart)) else {
                throw malformed("the header is not a JSON object")
            }
            root = members
        } catch let error as JSONSyntaxError {
            throw malformed("the header is not JSON (\(error))")
        }

        var entries: [String: Entry] = [:]
        var metadata: [String: String] = [:]
        for (name, value) in root {
            if name == "__metadata__" {
                guard case .object(let members) = value else { throw malformed("__metadata__ is not an object") }
                for (key, value) in members {
                    guard let text = value.string else { throw malformed("metadata \"\(key)\" is not a string") }
                    metadata[key] = text
                }
                continue
            }
            entries[name] = try Self.entry(name, value, dataStart: dataStart, file: file, malformed)
        }
        try Self.checkCoverage(entries, dataStart..<file.count, malformed)
        self.entries = entries
        self.metadata = metadata
    }

    private static func entry(
        _ name: String, _ value: JSONValue, dataStart: Int, file: MappedFile, _ malformed: (String) -> TensorFileError
    ) throws -> Entry {
        guard let members = value.object, members.count == 3, let typeName = value["dtype"]?.string,
            let sizes = value["shape"]?.array, let offsets = value["data_offsets"]?.array, offsets.count == 2
        else { throw malformed("tensor \"\(name)\" has not just a dtype, a shape and two data_offsets") }
        guard let type = TensorType(rawValue: typeName) else {
            throw TensorFileError.unsupported(
                file: file.path, what: "tensor \"\(name)\" has element type \(typeName)",
                next: "convert it to one of " + TensorType.allCases.map(\.rawValue).joined(separator: ", "))
        }
        let shape = sizes.compactMap(\.integer)
        guard shape.count == sizes.count, let byteCount = TensorDescription.byteCount(of: type, shape: shape) else {
            throw malformed("tensor \"\(name)\" has a shape that is not possible")
        }
        guard let begin = offsets[0].integer, let end = offsets[1].integer, begin >= 0, begin <= end,
            end <= file.count - dataStart
        else {
            throw malformed(
                "tensor \"\(name)\" lies outside the \(file.count - dataStart) bytes of data; the file is truncated "
                    + "or its header is wrong")
        }
        guard end - begin == byteCount else {
            throw malformed(
                "tensor \"\(name)\" of shape \(shape) and type \(type.rawValue) needs \(byteCount) bytes and has "
                    + "\(end - begin)")
        }
        return Entry(
            description: TensorDescription(name: name, type: type, shape: shape),
            bytes: dataStart + begin..<dataStart + end)
    }

    private static func checkCoverage(
        _ entries: [String: Entry], _ data: Range<Int>, _ malformed: (String) -> TensorFileError
    ) throws {
        let ordered = entries.values.sorted {
            ($0.bytes.lowerBound, $0.bytes.upperBound) < ($1.bytes.lowerBound, $1.bytes.upperBound)
        }
        var next = data.lowerBound
        for entry in ordered {
            if entry.bytes.lowerBound < next {
                throw malformed("tensor \"\(entry.description.name)\" overlaps another")
            }
            if entry.bytes.lowerBound > next {
                throw malformed("bytes before tensor \"\(entry.description.name)\" belong to no tensor")
            }
            next = entry.bytes.upperBound
        }
        if next != data.upperBound { throw malformed("\(data.upperBound - next) bytes at the end belong to no tensor") }
    }

    /// The first bytes of a file that holds `tensors`, and where each tensor's data begins in it.
    ///
    /// Tensors lie by descending type, then by name; the JSON is padded with spaces to a multiple of 8. Both are as
    /// in the safetensors library, so that the same tensors give the same file.
    static func layout(
        _ tensors: [TensorDescription], metadata: [String: String]
    ) -> (header: [UInt8], order: [Int], offsets: [Int]) {
        let order = tensors.indices.sorted {
            let (a, b) = (tensors[$0], tensors[$1])
            if a.type.rank != b.type.rank { return a.type.rank > b.type.rank }
            return a.name.utf8.lexicographicallyPrecedes(b.name.utf8)
        }
        var members: [String] = []
        if !metadata.isEmpty {
            let pairs = metadata.sorted { $0.key < $1.key }
                .map { "\(JSONValue.quoted($0.key)):\(JSONValue.quoted($0.value))" }
            members.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
        }
        var begin = 0
        var offsets = [Int](repeating: 0, count: tensors.count)
        for index in order {
            let tensor = tensors[index]
            let end = begin + tensor.byteCount
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            members.append(
                "\(JSONValue.quoted(tensor.name)):{\"dtype\":\"\(tensor.type.rawValue)\",\"shape\":[\(shape)],"
                    + "\"data_offsets\":[\(begin),\(end)]}")
            offsets[index] = begin
            begin = end
        }
        var json = Array("{\(members.joined(separator: ","))}".utf8)
        while json.count % 8 != 0 { json.append(UInt8(ascii: " ")) }
        let length = withUnsafeBytes(of: UInt64(json.count).littleEndian) { Array($0) }
        return (length + json, order, offsets.map { $0 + 8 + json.count })
    }
}
