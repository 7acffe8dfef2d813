import LinearAlgebra
import TensorFiles

/// Writes GGUF files as llama.cpp's converter does.
package struct GGUFWriter {
    private var metadata: [UInt8] = []
    private var metadataCount: UInt64 = 0
    private var tensors: [(name: String, matrix: Matrix)] = []

    package init() {}

    package mutating func set(_ key: String, _ value: Int) { put(key, 4, UInt32(value)) }
    package mutating func set(_ key: String, _ value: Float) { put(key, 6, value.bitPattern) }
    package mutating func set(_ key: String, _ value: String) {
        metadata += text(key) + bytes(UInt32(8)) + text(value)
        metadataCount += 1
    }
    package mutating func set(_ key: String, _ value: Bool) {
        metadata += text(key) + bytes(UInt32(7)) + [value ? 1 : 0]
        metadataCount += 1
    }
    package mutating func set(_ key: String, _ values: [String]) { putList(key, 8, values.map(text)) }
    package mutating func set(_ key: String, _ values: [Int]) { putList(key, 5, values.map { bytes(Int32($0)) }) }
    package mutating func set(_ key: String, _ values: [Float]) { putList(key, 6, values.map { bytes($0.bitPattern) }) }
    package mutating func add(_ name: String, _ matrix: Matrix) { tensors.append((name, matrix)) }

    /// Writes parts as llama.cpp's `gguf-split` does, the metadata in the first. Returns their paths.
    package func writeParts(_ count: Int, to stem: String) throws -> [String] {
        let each = (tensors.count + count - 1) / count
        return try (0..<count).map { number in
            var part = number == 0 ? self : GGUFWriter()
            part.tensors = Array(tensors.dropFirst(number * each).prefix(each))
            part.set("split.no", number)
            part.set("split.count", count)
            part.set("split.tensors.count", tensors.count)
            let path = "\(stem)-0000\(number + 1)-of-0000\(count).gguf"
            try part.write(to: path)
            return path
        }
    }

    private mutating func put(_ key: String, _ type: UInt32, _ value: UInt32) {
        metadata += text(key) + bytes(type) + bytes(value)
        metadataCount += 1
    }

    private mutating func putList(_ key: String, _ type: UInt32, _ values: [[UInt8]]) {
        metadata += text(key) + bytes(UInt32(9)) + bytes(type) + bytes(UInt64(values.count)) + values.joined()
        metadataCount += 1
    }

    package func write(to path: String) throws {
        var header = Array("GGUF".utf8) + bytes(UInt32(3)) + bytes(UInt64(tensors.count)) + bytes(metadataCount)
        header += metadata
        var offset: UInt64 = 0
        var data: [UInt8] = []
        for (name, matrix) in tensors {
            let sizes = matrix.rows == 1 ? [matrix.columns] : [matrix.columns, matrix.rows]
            header += text(name) + bytes(UInt32(sizes.count)) + sizes.flatMap { bytes(UInt64($0)) }
            header += bytes(UInt32(0)) + bytes(offset)
            data += matrix.values.withUnsafeBytes { Array($0) }
            while data.count % 32 != 0 { data.append(0) }
            offset = UInt64(data.count)
        }
        while header.count % 32 != 0 { header.append(0) }
        try AtomicFile.write(header + data, to: path)
    }

    private func bytes<Number: FixedWidthInteger>(_ value: Number) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    private func text(_ value: String) -> [UInt8] { bytes(UInt64(value.utf8.count)) + Array(value.utf8) }
}
