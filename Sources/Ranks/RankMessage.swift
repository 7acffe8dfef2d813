/// Bytes that another rank reads in the order in which they were written: both run the same program, on processors of the same byte
/// order.
package struct RankMessage: Sendable {
    package private(set) var bytes: [UInt8]
    private var at = 0

    package init() { bytes = [] }
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    // MARK: Writing

    package mutating func write<Value: BitwiseCopyable>(_ value: Value) {
        withUnsafeBytes(of: value) { bytes.append(contentsOf: $0) }
    }

    /// So many elements, and then they themselves.
    package mutating func write<Value: BitwiseCopyable>(_ values: [Value]) {
        write(values.count)
        values.withUnsafeBytes { bytes.append(contentsOf: $0) }
    }

    /// What another message holds.
    package mutating func append(_ other: RankMessage) { bytes += other.bytes }

    package mutating func write(_ text: String) { write(Array(text.utf8)) }

    /// The elements alone: who reads knows how many there are.
    package mutating func write<Value: BitwiseCopyable>(_ start: UnsafePointer<Value>, count: Int) {
        bytes.append(contentsOf: UnsafeRawBufferPointer(start: start, count: count * MemoryLayout<Value>.stride))
    }

    // MARK: Reading

    package mutating func read<Value: BitwiseCopyable>(_ type: Value.Type = Value.self) -> Value {
        defer { at += MemoryLayout<Value>.size }
        return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: at, as: type) }
    }

    package mutating func read<Value: BitwiseCopyable>(_ type: [Value].Type = [Value].self) -> [Value] {
        let count: Int = read()
        return [Value](unsafeUninitializedCapacity: count) { buffer, initialized in
            if let start = buffer.baseAddress { read(into: start, count: count) }
            initialized = count
        }
    }

    package mutating func read(_ type: String.Type = String.self) -> String {
        String(decoding: read([UInt8].self), as: UTF8.self)
    }

    /// So many elements, as they were written alone.
    package mutating func read<Value: BitwiseCopyable>(into start: UnsafeMutablePointer<Value>, count: Int) {
        let size = count * MemoryLayout<Value>.stride
        precondition(bytes.count - at >= size, "\(bytes.count - at) bytes are left of \(size)")
        bytes.withUnsafeBytes { bytes in
            guard size > 0 else { return }
            UnsafeMutableRawPointer(start).copyMemory(from: bytes.baseAddress! + at, byteCount: size)
        }
        at += size
    }
}
