import Kernels
import LinearAlgebra

/// Numbers of one array in a mapped file, row-major: of a safetensors file, a `.npy` file, or of nothing but numbers.
package struct StoredArray: Sendable {
    /// As given by the caller; for messages.
    package var path: String { file.path }
    package let name: String
    package let type: TensorType
    /// Sizes, slowest dimension first.
    package let shape: [Int]
    private let file: MappedFile
    private let offset: Int

    /// Numbers that the caller knows to lie in `file`, from byte `offset` on.
    init(_ name: String, _ type: TensorType, _ shape: [Int], of file: MappedFile, at offset: Int) {
        (self.name, self.type, self.shape, self.file, self.offset) = (name, type, shape, file, offset)
    }

    /// A file of `numpy.save` (NEP 1), in C order.
    ///
    /// - Throws: `TensorFileError`.
    package init(numpy path: String) throws {
        let file = try MappedFile(path: path)
        let name = lastComponent(path)
        let header = try NumpyHeader(file.slice(0..<file.count), name: name, path: path)
        guard !header.isFortran || header.shape.count < 2 else {
            throw TensorFileError.unsupported(
                file: path, what: "it is in Fortran order",
                next: "save it as numpy.save(path, numpy.ascontiguousarray(x))")
        }
        self.init(name, header.type, header.shape, of: file, at: header.length)
    }

    /// A file that holds numbers of one type and nothing else.
    ///
    /// - Throws: `TensorFileError`.
    package init(raw path: String, _ type: TensorType) throws {
        let file = try MappedFile(path: path)
        guard file.count % type.size == 0 else {
            throw TensorFileError.malformed(
                file: path, what: "it has \(file.count) bytes, no whole number of \(type.rawValue)",
                next: "check how wide its numbers are")
        }
        self.init(lastComponent(path), type, [file.count / type.size], of: file, at: 0)
    }

    /// Number of elements.
    package var count: Int { shape.reduce(1, *) }

    private var start: UnsafeRawPointer { file.bytes + offset }

    /// Elements of whole numbers or truth values; all of them without a range.
    ///
    /// - Throws: `TensorFileError` for other types and for numbers beyond 64 signed bits.
    package func integers(_ range: Range<Int>? = nil) throws -> [Int64] {
        let (range, start) = (range ?? 0..<count, start)
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "elements \(range) of \(count)")
        func read<Element: FixedWidthInteger>(_: Element.Type) throws -> [Int64] {
            try range.map {
                let value = start.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Element>.size, as: Element.self)
                guard let result = Int64(exactly: value) else {
                    throw TensorFileError.malformed(
                        file: path, what: "tensor \"\(name)\" holds \(value)", next: "values must fit 64 signed bits")
                }
                return result
            }
        }
        switch type {
        case .i64: return try read(Int64.self)
        case .i32: return try read(Int32.self)
        case .i16: return try read(Int16.self)
        case .i8: return try read(Int8.self)
        case .u64: return try read(UInt64.self)
        case .u32: return try read(UInt32.self)
        case .u16: return try read(UInt16.self)
        case .u8, .bool: return try read(UInt8.self)
        case .f64, .f32, .f16, .bf16:
            throw TensorFileError.wrongType(file: path, name: name, found: type.rawValue, wanted: "whole numbers")
        }
    }

    /// Has the disk read elements that are needed soon.
    package func readAhead(_ range: Range<Int>) {
        TensorFiles.readAhead(start + range.lowerBound * type.size, range.count * type.size)
    }

    /// Elements `range` of floating-point numbers as `Float`, the first of them into the first of `target`.
    package func widen(_ range: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= count, "elements \(range) of \(count)")
        let source = start + range.lowerBound * type.size
        switch type {
        case .f32: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: range.count * 4)
        case .f64:
            for i in 0..<range.count { target[i] = Float(source.loadUnaligned(fromByteOffset: i * 8, as: Double.self)) }
        case .bf16: kernels.expand(source, .bf16, target, range.count)
        case .f16: kernels.expand(source, .f16, target, range.count)
        default: preconditionFailure("\(type) is not floating point")
        }
    }
}
