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
        let source = bytes(name)
        let result = Matrix(rows: tensor.rows, columns: tensor.columns)
        Lanes.shared.forRanges(result.count, grain: 4096) { _, range in
            widen(source, tensor.type, range, into: result.elements)
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
    public func integers(_ name: String) throws -> [Int64] {
        let tensor = try require(name)
        let source = bytes(name)
        func read<Element: FixedWidthInteger>(_: Element.Type) throws -> [Int64] {
            try (0..<tensor.count).map {
                let value = source.loadUnaligned(
                    fromByteOffset: $0 * MemoryLayout<Element>.size, as: Element.self)
                guard let result = Int64(exactly: value) else {
                    throw TensorFileError.malformed(
                        file: path, what: "tensor \"\(name)\" holds \(value)", next: "values must fit 64 signed bits")
                }
                return result
            }
        }
        switch tensor.type {
        case .i64: return try read(Int64.self)
        case .i32: return try read(Int32.self)
        case .i16: return try read(Int16.self)
        case .i8: return try read(Int8.self)
        case .u64: return try read(UInt64.self)
        case .u32: return try read(UInt32.self)
        case .u16: return try read(UInt16.self)
        case .u8, .bool: return try read(UInt8.self)
        case .f64, .f32, .f16, .bf16:
            throw TensorFileError.wrongType(
                file: path, name: name, found: tensor.type.rawValue, wanted: "whole numbers")
        }
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

    private func bytes(_ name: String) -> UnsafeRawPointer { file.bytes + ranges[name]!.lowerBound }

    private func requireType(_ tensor: TensorDescription, _ fits: Bool, wanted: String) throws {
        if !fits {
            throw TensorFileError.wrongType(
                file: path, name: tensor.name, found: tensor.type.rawValue, wanted: wanted)
        }
    }
}

/// Elements `range` of a floating-point tensor, as `Float`.
private func widen(
    _ source: UnsafeRawPointer, _ type: TensorType, _ range: Range<Int>, into target: UnsafeMutablePointer<Float>
) {
    switch type {
    case .f32:
        UnsafeMutableRawPointer(target + range.lowerBound).copyMemory(
            from: source + range.lowerBound * 4, byteCount: range.count * 4)
    case .f64:
        for i in range { target[i] = Float(source.loadUnaligned(fromByteOffset: i * 8, as: Double.self)) }
    case .bf16:
        for i in range {
            let upper = source.loadUnaligned(fromByteOffset: i * 2, as: UInt16.self)
            target[i] = Float(bitPattern: UInt32(upper) << 16)
        }
    case .f16:
        for i in range {
            target[i] = widenHalf(source.loadUnaligned(fromByteOffset: i * 2, as: UInt16.self))
        }
    default: preconditionFailure("\(type) is not floating point")
    }
}

/// A binary16 as binary32, exactly.
///
/// Exponent and fraction moved into place denote the value times 2⁻¹¹², subnormals included; an exponent of all
/// ones then needs the upper three exponent bits as well. In integers, because `Float(Float16)` is a library call
/// per element on processors without F16C.
package func widenHalf(_ half: UInt16) -> Float {
    let magnitude = UInt32(half & 0x7FFF) << 13
    let scaled = Float(bitPattern: magnitude) * 0x1p112
    let special: UInt32 = half & 0x7C00 == 0x7C00 ? 0x7F80_0000 : 0
    return Float(bitPattern: (scaled.bitPattern | special) | UInt32(half & 0x8000) << 16)
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
