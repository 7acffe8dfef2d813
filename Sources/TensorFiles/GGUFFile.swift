import Kernels
import LinearAlgebra

/// A memory-mapped GGUF file: metadata and named tensors, as llama.cpp writes them.
///
/// Versions 2 and 3, little-endian. The whole header is checked on opening: every count against the bytes left, every
/// tensor's range against the file and against the others. What a tensor is for is not known here.
public final class GGUFFile: Sendable {
    /// Path it was opened by.
    public let path: String
    /// Metadata by key, such as `llama.block_count`.
    public let metadata: [String: GGUFValue]
    /// Tensors by name, such as `blk.0.attn_q.weight`.
    public let tensors: [String: GGUFTensor]
    let file: MappedFile

    /// Maps the file and reads its header.
    ///
    /// Throws `TensorFileError` for a file that cannot be read, is not GGUF, is cut short or contradicts itself, and
    /// for tensor types other than those of `NumberFormat`.
    public init(path: String) throws {
        self.path = path
        file = try MappedFile(path: path)
        try refuseGitPointer(file)
        var cursor = GGUFCursor(path: path, bytes: file.slice(0..<file.count))
        let counts = try Self.preamble(&cursor)
        metadata = try Self.metadata(&cursor, count: counts.metadata)
        tensors = try Self.tensors(&cursor, count: counts.tensors, alignment: Self.alignment(metadata, cursor))
    }

    private static func preamble(_ cursor: inout GGUFCursor) throws -> (metadata: Int, tensors: Int) {
        guard cursor.remaining >= 4, try cursor.number(UInt32.self) == 0x4655_4747 else {
            throw cursor.malformed("it does not begin with \"GGUF\"")
        }
        let version = try cursor.number(UInt32.self)
        guard version == 2 || version == 3 else {
            let note = version.byteSwapped <= 3 ? " (a big-endian file)" : ""
            throw TensorFileError.unsupported(
                file: cursor.path, what: "GGUF version \(version)\(note)",
                next: "convert it to version 2 or 3, little-endian")
        }
        // The smallest tensor entry has an empty name and one dimension; the smallest value is one byte.
        let tensors = try cursor.count(ofSize: 32, "tensors")
        let metadata = try cursor.count(ofSize: 13, "metadata values")
        return (metadata, tensors)
    }

    private static func metadata(_ cursor: inout GGUFCursor, count: Int) throws -> [String: GGUFValue] {
        var result: [String: GGUFValue] = [:]
        for index in 0..<count {
            cursor.subject = "the name of metadata value \(index)"
            let key = try cursor.string()
            cursor.subject = "metadata value \(key)"
            guard result.updateValue(try cursor.value(), forKey: key) == nil else {
                throw cursor.malformed("metadata value \(key) appears twice")
            }
        }
        return result
    }

    private static func alignment(_ metadata: [String: GGUFValue], _ cursor: GGUFCursor) throws -> Int {
        guard let value = metadata["general.alignment"] else { return 32 }
        guard let alignment = value.integer, (1...1 << 24).contains(alignment), alignment.nonzeroBitCount == 1 else {
            throw cursor.malformed("general.alignment is not a power of two")
        }
        return alignment
    }

    private static func tensors(_ cursor: inout GGUFCursor, count: Int, alignment: Int) throws -> [String: GGUFTensor] {
        var entries: [(name: String, shape: [Int], type: NumberFormat, offset: UInt64)] = []
        for index in 0..<count {
            cursor.subject = "the name of tensor \(index)"
            let name = try cursor.string()
            cursor.subject = "the entry of tensor \(name)"
            let shape = try shape(&cursor, name)
            let number = try cursor.number(UInt32.self)
            guard let type = NumberFormat(rawValue: number) else {
                throw TensorFileError.unsupported(
                    file: cursor.path, what: "tensor \"\(name)\" is of type \(NumberFormat.name(of: number))",
                    next: "convert it to one of \(NumberFormat.listed)")
            }
            entries.append((name, shape, type, try cursor.number(UInt64.self)))
        }
        let start = (cursor.position + alignment - 1) / alignment * alignment
        var result: [String: GGUFTensor] = [:]
        for entry in entries {
            let tensor = GGUFTensor(
                shape: entry.shape, elementType: entry.type,
                byteRange: try byteRange(cursor, entry, start: start, alignment: alignment))
            guard result.updateValue(tensor, forKey: entry.name) == nil else {
                throw cursor.malformed("tensor \(entry.name) appears twice")
            }
        }
        try refuseOverlap(result, cursor)
        return result
    }

    private static func shape(_ cursor: inout GGUFCursor, _ name: String) throws -> [Int] {
        let dimensions = try cursor.number(UInt32.self)
        guard (1...4).contains(dimensions) else {
            throw cursor.malformed("tensor \(name) has \(dimensions) dimensions; 1 to 4 are possible")
        }
        let lengths = try (0..<dimensions).map { _ in try cursor.number(UInt64.self) }
        guard lengths.allSatisfy({ $0 > 0 && $0 <= UInt64(Int32.max) }) else {
            throw cursor.malformed("tensor \(name) has the impossible shape \(Array(lengths.reversed()))")
        }
        return lengths.reversed().map(Int.init)
    }

    private static func byteRange(
        _ cursor: GGUFCursor, _ entry: (name: String, shape: [Int], type: NumberFormat, offset: UInt64),
        start: Int, alignment: Int
    ) throws -> Range<Int> {
        guard entry.shape.last! % entry.type.blockLength == 0 else {
            throw cursor.malformed(
                "tensor \(entry.name) has rows of \(entry.shape.last!) elements, not a multiple of its block of "
                    + "\(entry.type.blockLength)")
        }
        var size = entry.shape.last! / entry.type.blockLength * entry.type.blockBytes
        var overflow = false
        for length in entry.shape.dropLast() where !overflow {
            (size, overflow) = size.multipliedReportingOverflow(by: length)
        }
        guard !overflow, start <= cursor.bytes.count, entry.offset <= UInt64(cursor.bytes.count - start),
            size <= cursor.bytes.count - start - Int(entry.offset)
        else {
            throw cursor.malformed(
                "the data of tensor \(entry.name) (shape \(entry.shape), offset \(entry.offset)) ends past the end of "
                    + "the file")
        }
        guard Int(entry.offset) % alignment == 0 else {
            throw cursor.malformed(
                "the data of tensor \(entry.name) begins at offset \(entry.offset), not a multiple of \(alignment)")
        }
        return start + Int(entry.offset)..<start + Int(entry.offset) + size
    }

    private static func refuseOverlap(_ tensors: [String: GGUFTensor], _ cursor: GGUFCursor) throws {
        let order = tensors.sorted { $0.value.byteRange.lowerBound < $1.value.byteRange.lowerBound }
        for (before, after) in zip(order, order.dropFirst())
        where before.value.byteRange.upperBound > after.value.byteRange.lowerBound {
            throw cursor.malformed("the data of tensors \(before.key) and \(after.key) overlap")
        }
    }
}
