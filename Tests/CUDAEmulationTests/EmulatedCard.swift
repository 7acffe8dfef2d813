import Foundation
import TestSupport

/// A call that did not succeed, by CUDA's name of its result.
struct CUDAError: Error, Equatable, CustomStringConvertible {
    let description: String
}

/// A card of a test's own, with its context current on the test's thread.
final class EmulatedCard {
    let cuda = EmulatedCUDA.shared
    let ordinal: Int32
    private var functions: [String: UnsafeMutableRawPointer] = [:]
    private let context: UnsafeMutableRawPointer

    init(_ settings: String = "") throws {
        ordinal = cuda.addCard(settings)
        var context: UnsafeMutableRawPointer?
        guard cuda.retainContext(&context, ordinal) == 0, let context else {
            throw CUDAError(description: "no context")
        }
        self.context = context
        try check(cuda.setCurrent(context))
    }

    deinit { _ = cuda.releaseContext(ordinal) }

    func check(_ result: Int32) throws {
        if result != 0 { throw CUDAError(description: cuda.name(of: result)) }
    }

    func set(_ settings: String) throws {
        if cuda.setCard(ordinal, settings) != 0 { throw CUDAError(description: "unknown setting in \(settings)") }
    }

    func calls(of entry: String) -> Int { Int(cuda.calls(ordinal, entry)) }

    func allocate(_ bytes: Int) throws -> UInt64 {
        var address: UInt64 = 0
        try check(cuda.allocate(&address, bytes))
        return address
    }

    /// Device memory that holds the values.
    func upload<Value: BitwiseCopyable>(_ values: [Value]) throws -> UInt64 {
        let address = try allocate(values.count * MemoryLayout<Value>.stride)
        try values.withUnsafeBytes { try check(cuda.copyToDevice(address, $0.baseAddress, $0.count, nil)) }
        return address
    }

    func download<Value: BitwiseCopyable>(_ address: UInt64, _ count: Int, of zero: Value) throws -> [Value] {
        var values = [Value](repeating: zero, count: count)
        try values.withUnsafeMutableBytes { try check(cuda.copyToHost($0.baseAddress, address, $0.count, nil)) }
        return values
    }

    func floats(_ address: UInt64, _ count: Int) throws -> [Float] { try download(address, count, of: 0) }
    func words(_ address: UInt64, _ count: Int) throws -> [UInt32] { try download(address, count, of: 0) }

    func stream() throws -> UnsafeMutableRawPointer {
        var stream: UnsafeMutableRawPointer?
        try check(cuda.createStream(&stream, 1))
        return stream!
    }

    /// One value that a kernel takes.
    enum Argument {
        case address(UInt64)
        case int(Int32)
        case float(Float)
        case pair(Float, Float)

        fileprivate func write(to place: UnsafeMutableRawPointer) {
            switch self {
            case .address(let value): place.storeBytes(of: value, as: UInt64.self)
            case .int(let value): place.storeBytes(of: value, as: Int32.self)
            case .float(let value): place.storeBytes(of: value, as: Float.self)
            case .pair(let x, let y):
                place.storeBytes(of: x, as: Float.self)
                place.storeBytes(of: y, toByteOffset: 4, as: Float.self)
            }
        }
    }

    func launch(
        _ name: String, blocks: UInt32, threads: UInt32, shared: UInt32 = 0, on stream: UnsafeMutableRawPointer? = nil,
        _ arguments: Argument...
    ) throws {
        let storage = UnsafeMutableRawPointer.allocate(byteCount: 16 * max(1, arguments.count), alignment: 16)
        defer { storage.deallocate() }
        var places: [UnsafeMutableRawPointer?] = []
        for (index, argument) in arguments.enumerated() {
            argument.write(to: storage + 16 * index)
            places.append(storage + 16 * index)
        }
        try check(
            cuda.launchKernel(try function(name), blocks, 1, 1, threads, 1, 1, shared, stream, &places, nil))
    }

    func function(_ name: String) throws -> UnsafeMutableRawPointer {
        if let known = functions[name] { return known }
        for file in ["reduction", "histogram", "compaction"] {
            let text = String(
                decoding: contents(of: fixture("../CUDAEmulation/Examples/\(file).cu")), as: UTF8.self)
            if text.contains(" \(name)(") { return try function(name, in: compiled(text)) }
        }
        throw CUDAError(description: "no kernel \(name)")
    }

    func function(_ name: String, in image: [UInt8]) throws -> UnsafeMutableRawPointer {
        var (module, function): (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?)
        try check(cuda.loadModule(&module, image))
        try check(cuda.getFunction(&function, module, name))
        functions[name] = function
        return function!
    }
}
