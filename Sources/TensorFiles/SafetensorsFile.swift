import Kernels
import LinearAlgebra

/// A safetensors file, mapped; its header is checked completely before anything is read through it.
///
/// Knows nothing of what the tensors mean.
public final class SafetensorsFile: Sendable {
    /// As given by the caller; for messages.
    public let path: String
    /// What the file holds, by name.
    public let tensors: [String: TensorDescription]
    /// The header's `__metadata__`.
    public let metadata: [String: String]
    private let file: MappedFile
    private let ranges: [String: Range<Int>]

    /// Maps a file. Throws `TensorFileError`.
    public init(path: String) throws {
        file = try MappedFile(path: path)
        let header = try SafetensorsHeader(reading: file)
        self.path = path
        metadata = header.metadata
        tensors = header.entries.mapValues(\.description)
        ranges = header.entries.mapValues(\.bytes)
    }

    /// The tensor `name`, which must exist and have `shape`; nil is any size, and no shape is any shape.
    @discardableResult
    public func require(_ name: String, shape: [Int?]? = nil) throws -> TensorDescription {
        guard let found = tensors[name] else {
            throw TensorFileError.missingTensor(file: path, name: name, present: Array(tensors.keys))
        }
        if let shape {
            let fits = shape.count == found.shape.count && zip(shape, found.shape).allSatisfy { $0 == nil || $0 == $1 }
            if !fits {
                throw TensorFileError.wrongShape(file: path, name: name, found: found.shape, wanted: shape)
            }
        }
        return found
    }

    /// A floating-point tensor widened or rounded to `Float`: rows are the leading sizes together, columns the last;
    /// a vector is one row, a scalar 1×1.
    public func matrix(_ name: String) throws -> Matrix {
        let tensor = try require(name)
        try requireType(tensor, tensor.type.isFloatingPoint, wanted: "F64, F32, F16 or BF16")
        let array = try array(name)
        let result = Matrix(rows: tensor.rows, columns: tensor.columns)
        Lanes.shared.forRanges(result.count, grain: 4096) { _, range in
            array.widen(range, into: result.elements + range.lowerBound)
        }
        return result
    }

    /// A floating-point tensor as `Double`, row-major.
    public func doubles(_ name: String) throws -> [Double] {
        let tensor = try require(name)
        if tensor.type == .f64 {
            let source = bytes(name)
            return (0..<tensor.count).map { source.loadUnaligned(fromByteOffset: $0 * 8, as: Double.self) }
        }
        return try matrix(name).values.map(Double.init)
    }

    /// A tensor of whole numbers or truth values, row-major.
    public func integers(_ name: String) throws -> [Int64] { try array(name).integers() }

    /// A tensor where it lies.
    package func array(_ name: String) throws -> StoredArray {
        let tensor = try require(name)
        return StoredArray(name, tensor.type, tensor.shape, of: file, at: ranges[name]!.lowerBound)
    }

    /// The elements of an F32 tensor in the map itself; valid while this object lives.
    ///
    /// Throws for another type, and for data that does not lie at a multiple of 4 bytes (`matrix` reads those).
    public func floatPointer(_ name: String) throws -> UnsafePointer<Float> {
        let tensor = try require(name)
        try requireType(tensor, tensor.type == .f32, wanted: "F32")
        let start = bytes(name)
        guard Int(bitPattern: start) % MemoryLayout<Float>.alignment == 0 else {
            throw TensorFileError.unsupported(
                file: path, what: "tensor \"\(name)\" is not aligned to its elements",
                next: "write the file again with a header padded to 8 bytes")
        }
        return start.assumingMemoryBound(to: Float.self)
    }

    func bytes(_ name: String) -> UnsafeRawPointer { file.bytes + ranges[name]!.lowerBound }

    private func requireType(_ tensor: TensorDescription, _ fits: Bool, wanted: String) throws {
        if !fits {
            throw TensorFileError.wrongType(
                file: path, name: tensor.name, found: tensor.type.rawValue, wanted: wanted)
        }
    }
}

/// A binary16 as binary32, exactly; for numbers that do not lie side by side.
package func widenHalf(_ half: UInt16) -> Float {
    var result: Float = 0
    withUnsafeBytes(of: half) { kernels.expand($0.baseAddress!, .f16, &result, 1) }
    return result
}

extension SafetensorsFile {
    /// A floating-point tensor of which every element is a number: NaN would be dropped silently by a threshold.
    ///
    /// - Throws: `TensorFileError`.
    public func finiteMatrix(_ name: String) throws -> Matrix {
        let result = try matrix(name)
        guard result.isFinite else {
            throw TensorFileError.malformed(
                file: path, what: "tensor \"\(name)\" holds NaN or infinity", next: "check how it was made")
        }
        return result
    }
}
