import CZlib
import LinearAlgebra

/// Writes a file that `torch.load` reads, with weights_only and mapped too: a state dict in a ZIP archive, stored,
/// every tensor at a multiple of 64 bytes.
package struct TorchWriter {
    private struct Tensor {
        var name: String
        var storage: String
        var shape: [Int]
        var bytes: [UInt8]
    }

    private var tensors: [Tensor] = []

    /// An empty state dict.
    package init() {}

    /// Adds a tensor of float32; `shape` has as many elements as the matrix.
    package mutating func add(_ name: String, _ matrix: Matrix, shape: [Int]) {
        precondition(shape.reduce(1, *) == matrix.count, "\(shape) for \(matrix.count) numbers")
        let bytes = UnsafeRawBufferPointer(UnsafeBufferPointer(start: matrix.elements, count: matrix.count))
        tensors.append(Tensor(name: name, storage: "FloatStorage", shape: shape, bytes: Array(bytes)))
        extendLifetime(matrix)
    }

    /// Adds a tensor of int32.
    package mutating func add(_ name: String, _ numbers: [Int32], shape: [Int]) {
        add(name, numbers, "IntStorage", shape)
    }

    /// Adds a tensor of int64.
    package mutating func add(_ name: String, _ numbers: [Int64], shape: [Int]) {
        add(name, numbers, "LongStorage", shape)
    }

    private mutating func add<Number: FixedWidthInteger>(
        _ name: String, _ numbers: [Number], _ storage: String, _ shape: [Int]
    ) {
        precondition(shape.reduce(1, *) == numbers.count, "\(shape) for \(numbers.count) numbers")
        let bytes = numbers.flatMap { withUnsafeBytes(of: $0.littleEndian) { Array($0) } }
        tensors.append(Tensor(name: name, storage: storage, shape: shape, bytes: bytes))
    }

    /// The whole file under a temporary name.
    ///
    /// - Throws: `TensorFileError`.
    package func file(at path: String) throws -> AtomicFile {
        let file = try AtomicFile(path: path)
        var archive = StoredArchive()
        for (name, bytes) in [("data.pkl", pickle), ("byteorder", Array("little".utf8))] {
            try archive.add("archive/" + name, bytes, to: file)
        }
        for (index, tensor) in tensors.enumerated() {
            try archive.add("archive/data/\(index)", tensor.bytes, to: file, alignment: 64)
        }
        try archive.add("archive/version", Array("3\n".utf8), to: file)
        try archive.finish(file)
        return file
    }

    /// Protocol 2, and of its instructions no more than a reader must know: no memo, one call a tensor.
    private var pickle: [UInt8] {
        func integer(_ value: Int) -> [UInt8] {
            if let small = Int32(exactly: value) { return [0x4A] + little(small) }
            return [0x8A, 8] + little(Int64(value))
        }
        func text(_ text: String) -> [UInt8] { [0x58] + little(UInt32(text.utf8.count)) + text.utf8 }
        func tuple(_ values: [Int]) -> [UInt8] { [0x28] + values.flatMap(integer) + [0x74] }
        var result: [UInt8] = [0x80, 2, 0x7D, 0x28]
        for (index, tensor) in tensors.enumerated() {
            let strides = tensor.shape.indices.map { tensor.shape[($0 + 1)...].reduce(1, *) }
            let count = tensor.shape.reduce(1, *)
            result += text(tensor.name) + Array("ctorch._utils\n_rebuild_tensor_v2\n((".utf8) + text("storage")
            result += Array("ctorch\n\(tensor.storage)\n".utf8) + text("\(index)") + text("cpu") + integer(count)
            result += [0x74, 0x51] + integer(0) + tuple(tensor.shape) + tuple(strides) + [0x89]
            result += Array("ccollections\nOrderedDict\n)RtR".utf8)
        }
        return result + [0x75, 0x2E]
    }
}

private func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.littleEndian) { Array($0) }
}

/// Entries of a ZIP archive as they are written, and its directory. Sizes of 2³² and more have 64-bit fields.
private struct StoredArchive {
    private var directory: [UInt8] = []
    private var count = 0
    private var position = 0

    mutating func add(_ name: String, _ bytes: [UInt8], to file: AtomicFile, alignment: Int = 1) throws {
        let checksum = bytes.withUnsafeBytes {
            UInt32(truncatingIfNeeded: crc32_z(0, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), $0.count))
        }
        let header = position
        let wide = bytes.count > Int(UInt32.max) - 1 || header > Int(UInt32.max) - 1
        let size = wide ? UInt32.max : UInt32(bytes.count)
        let common = [0x14, 0, 0, 8, 0, 0, 0, 0, 0x21, 0] + little(checksum) + little(size) + little(size)
        let local64: [UInt8] = wide ? [1, 0, 16, 0] + little(UInt64(bytes.count)) + little(UInt64(bytes.count)) : []
        // An extra field of PyTorch's own kind fills up to the alignment.
        let unpadded = position + 30 + name.utf8.count + local64.count
        var padding = (alignment - unpadded % alignment) % alignment
        if padding > 0 && padding < 4 { padding += alignment }
        let extra =
            local64
            + (padding == 0
                ? [] : Array("FB".utf8) + little(UInt16(padding - 4)) + [UInt8](repeating: 0x5A, count: padding - 4))
        try write(
            [0x50, 0x4B, 3, 4] + common + little(UInt16(name.utf8.count)) + little(UInt16(extra.count)) + name.utf8
                + extra,
            to: file)
        try write(bytes, to: file)
        let wide64: [UInt8] =
            wide
            ? [1, 0, 24, 0] + little(UInt64(bytes.count)) + little(UInt64(bytes.count)) + little(UInt64(header)) : []
        directory +=
            [0x50, 0x4B, 1, 2, 0x14, 0] + common + little(UInt16(name.utf8.count)) + little(UInt16(wide64.count))
        directory += [UInt8](repeating: 0, count: 10) + little(wide ? UInt32.max : UInt32(header)) + name.utf8 + wide64
        count += 1
    }

    mutating func finish(_ file: AtomicFile) throws {
        let start = position
        try write(directory, to: file)
        let wide = start > Int(UInt32.max) - 1
        if wide {
            let record = position
            try write(
                [0x50, 0x4B, 6, 6] + little(UInt64(44)) + [45, 0, 45, 0] + [UInt8](repeating: 0, count: 8)
                    + little(UInt64(count)) + little(UInt64(count)) + little(UInt64(directory.count))
                    + little(UInt64(start))
                    + [0x50, 0x4B, 6, 7] + [0, 0, 0, 0] + little(UInt64(record)) + [1, 0, 0, 0], to: file)
        }
        try write(
            [0x50, 0x4B, 5, 6, 0, 0, 0, 0] + little(UInt16(count)) + little(UInt16(count))
                + little(UInt32(directory.count)) + little(wide ? UInt32.max : UInt32(start)) + [0, 0], to: file)
    }

    private mutating func write(_ bytes: [UInt8], to file: AtomicFile) throws {
        try bytes.withUnsafeBytes { try file.write($0) }
        position += bytes.count
    }
}
