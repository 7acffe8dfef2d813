import LinearAlgebra

/// Collects tensors and writes them as one safetensors file, laid out as the safetensors library would.
public struct SafetensorsWriter {
    private enum Payload {
        case bytes([UInt8])
        case widened([Int32])
        case matrix(Matrix, bring: () throws -> Void, done: () -> Void)
    }

    private var descriptions: [TensorDescription] = []
    private var payloads: [Payload] = []
    private let metadata: [String: String]

    /// An empty collection; `metadata` becomes the header's `__metadata__`.
    public init(metadata: [String: String] = [:]) { self.metadata = metadata }

    /// Adds a tensor given by its elements' bytes, little-endian and row-major.
    public mutating func add(_ name: String, type: TensorType, shape: [Int], bytes: [UInt8]) {
        let needed = TensorDescription.byteCount(of: type, shape: shape)
        precondition(needed == bytes.count, "\(bytes.count) bytes for \(name) of \(type) \(shape)")
        append(TensorDescription(name: name, type: type, shape: shape), .bytes(bytes))
    }

    /// Adds an F32 tensor with a matrix's elements, by default in the matrix's own two sizes. The matrix is kept,
    /// not copied: it is read when the file is written, between `bring` and `done`.
    public mutating func add(
        _ name: String, _ matrix: Matrix, shape: [Int]? = nil, bring: @escaping () throws -> Void = {},
        done: @escaping () -> Void = {}
    ) {
        let shape = shape ?? [matrix.rows, matrix.columns]
        precondition(shape.reduce(1, *) == matrix.count, "\(matrix.count) elements for \(name) of \(shape)")
        append(TensorDescription(name: name, type: .f32, shape: shape), .matrix(matrix, bring: bring, done: done))
    }

    /// Adds an F32 tensor, by default a vector.
    public mutating func add(_ name: String, _ values: [Float], shape: [Int]? = nil) {
        add(name, type: .f32, shape: shape ?? [values.count], bytes: values.withUnsafeBytes { Array($0) })
    }

    /// Adds an F64 tensor, by default a vector.
    public mutating func add(_ name: String, doubles values: [Double], shape: [Int]? = nil) {
        add(name, type: .f64, shape: shape ?? [values.count], bytes: values.withUnsafeBytes { Array($0) })
    }

    /// Adds an I64 tensor, by default a vector.
    public mutating func add(_ name: String, integers values: [Int64], shape: [Int]? = nil) {
        add(name, type: .i64, shape: shape ?? [values.count], bytes: values.withUnsafeBytes { Array($0) })
    }

    /// Adds an I64 tensor of numbers that are widened as they are written.
    public mutating func add(_ name: String, widening values: [Int32], shape: [Int]) {
        precondition(shape.reduce(1, *) == values.count, "\(values.count) elements for \(name) of \(shape)")
        append(TensorDescription(name: name, type: .i64, shape: shape), .widened(values))
    }

    /// Adds an I32 tensor, by default a vector.
    public mutating func add(_ name: String, integers32 values: [Int32], shape: [Int]? = nil) {
        add(name, type: .i32, shape: shape ?? [values.count], bytes: values.withUnsafeBytes { Array($0) })
    }

    /// Writes the file, atomically. Throws `TensorFileError`.
    public func write(to path: String) throws { try file(at: path).commit() }

    /// Writes the file but for its name: to be committed with others that belong to it. Throws `TensorFileError`.
    public func file(at path: String) throws -> AtomicFile {
        let (header, order, _) = SafetensorsHeader.layout(descriptions, metadata: metadata)
        let file = try AtomicFile(path: path)
        try header.withUnsafeBytes { try file.write($0) }
        for index in order {
            switch payloads[index] {
            case .bytes(let bytes): try bytes.withUnsafeBytes { try file.write($0) }
            case .widened(let values):
                for first in stride(from: 0, to: values.count, by: 1 << 16) {
                    let part = values[first..<min(first + 1 << 16, values.count)].map { Int64($0) }
                    try part.withUnsafeBytes { try file.write($0) }
                }
            case .matrix(let matrix, let bring, let done):
                try bring()
                defer { done() }
                try file.write(UnsafeRawBufferPointer(start: matrix.elements, count: matrix.count * 4))
            }
        }
        try file.sync()
        return file
    }

    private mutating func append(_ description: TensorDescription, _ payload: Payload) {
        precondition(
            description.name != "__metadata__" && !descriptions.contains { $0.name == description.name },
            "the name \(description.name) is taken")
        descriptions.append(description)
        payloads.append(payload)
    }
}
