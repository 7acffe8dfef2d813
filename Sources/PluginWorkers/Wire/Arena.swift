import CLinux
import Glibc
import PluginABI

/// Arrays one after the other in an anonymous file that nobody can change any more: how everything large passes between
/// the host and a worker.
///
/// Layout: "DMSAEARE", the number of blocks, the length of each in bytes (all 64-bit), then the blocks, each from a
/// multiple of 64 bytes. A reader maps the file for reading only, so a stray write of a plugin into its input ends the
/// worker, and takes nothing in it on trust.
package final class Arena: @unchecked Sendable {
    /// A file that is not an arena.
    package struct Malformed: Error, CustomStringConvertible {
        package let reason: String

        package init(reason: String) { self.reason = reason }

        package var description: String { "shared memory: \(reason)" }
    }

    /// Where each block lies.
    package let blocks: [UnsafeRawBufferPointer]
    private let memory: UnsafeMutableRawPointer
    private let size: Int

    private static let magic: UInt64 = 0x4552_4145_4153_4d44
    private static func aligned(_ offset: Int) -> Int { (offset + 63) / 64 * 64 }

    /// Writes `blocks` into a new sealed file and returns its descriptor, which is the caller's to close.
    /// - Throws: `SystemRefusal` with the system's reason.
    static func write(_ blocks: [UnsafeRawBufferPointer]) throws -> Int32 {
        var offsets: [Int] = []
        var size = aligned(16 + 8 * blocks.count)
        for block in blocks {
            offsets.append(size)
            size = aligned(size + block.count)
        }
        return try sealed(size: size) { memory in
            memory.storeBytes(of: magic, as: UInt64.self)
            memory.storeBytes(of: UInt64(blocks.count), toByteOffset: 8, as: UInt64.self)
            for (i, block) in blocks.enumerated() {
                memory.storeBytes(of: UInt64(block.count), toByteOffset: 16 + 8 * i, as: UInt64.self)
                if let start = block.baseAddress {
                    (memory + offsets[i]).copyMemory(from: start, byteCount: block.count)
                }
            }
        }
    }

    /// A new sealed file with the given bytes.
    static func copy(_ bytes: [UInt8]) throws -> Int32 {
        try sealed(size: bytes.count) { memory in
            bytes.withUnsafeBytes {
                if let start = $0.baseAddress { memory.copyMemory(from: start, byteCount: $0.count) }
            }
        }
    }

    private static func sealed(size: Int, _ fill: (UnsafeMutableRawPointer) -> Void) throws -> Int32 {
        func failed() -> SystemRefusal {
            SystemRefusal(what: "shared memory", reason: String(cString: strerror(errno)))
        }
        let file = dmsae_memfd("dmsae")
        guard file >= 0 else { throw failed() }
        guard ftruncate(file, off_t(size)) == 0,
            let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), memory != MAP_FAILED
        else {
            defer { close(file) }
            throw failed()
        }
        fill(memory)
        munmap(memory, size)
        guard dmsae_memfd_seal(file) == 0 else {
            defer { close(file) }
            throw failed()
        }
        return file
    }

    /// Maps a file that the other side sent; the descriptor stays the caller's.
    /// - Throws: `Arena.Malformed`.
    init(descriptor file: Int32) throws {
        var status = stat()
        guard fstat(file, &status) == 0, status.st_size >= 16, dmsae_memfd_is_sealed(file) != 0 else {
            throw Malformed(reason: "not sealed shared memory")
        }
        let size = Int(status.st_size)
        guard let memory = mmap(nil, size, PROT_READ, MAP_SHARED, file, 0), memory != MAP_FAILED else {
            throw Malformed(reason: "\(size) bytes: \(String(cString: strerror(errno)))")
        }
        do {
            blocks = try Self.blocks(UnsafeRawBufferPointer(start: memory, count: size))
        } catch {
            munmap(memory, size)
            throw error
        }
        self.memory = memory
        self.size = size
    }

    deinit { munmap(memory, size) }

    /// All of it, for a copy on disk.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: memory, count: size) }

    private static func blocks(_ bytes: UnsafeRawBufferPointer) throws -> [UnsafeRawBufferPointer] {
        let count = bytes.load(fromByteOffset: 8, as: UInt64.self)
        guard bytes.load(as: UInt64.self) == magic, count < 1 << 20, 16 + 8 * Int(count) <= bytes.count else {
            throw Malformed(reason: "no arena")
        }
        var at = aligned(16 + 8 * Int(count))
        return try (0..<Int(count)).map { i in
            let length = bytes.load(fromByteOffset: 16 + 8 * i, as: UInt64.self)
            guard at <= bytes.count, length <= UInt64(bytes.count - at) else {
                throw Malformed(reason: "a block too long")
            }
            defer { at = aligned(at + Int(length)) }
            return UnsafeRawBufferPointer(rebasing: bytes[at..<at + Int(length)])
        }
    }
}

/// Blocks on their way into an arena. Keeps what they lie in.
package struct ArenaBlocks {
    private(set) var list: [UnsafeRawBufferPointer] = []
    private var kept: [Any] = []

    package init() {}

    /// All that it takes.
    package var bytes: Int { list.reduce(0) { $0 + $1.count } }

    /// Adds an array of plain values.
    package mutating func add<Element: BitwiseCopyable>(_ values: [Element]) {
        let copy = UnsafeMutableBufferPointer<Element>.allocate(capacity: values.count)
        _ = copy.initialize(from: values)
        kept.append(Freed(UnsafeMutableRawBufferPointer(copy)))
        list.append(UnsafeRawBufferPointer(copy))
    }

    /// Adds memory that `owner` keeps.
    package mutating func add(_ start: UnsafeRawPointer, bytes: Int, owner: Any) {
        kept.append(owner)
        list.append(UnsafeRawBufferPointer(start: start, count: bytes))
    }

    /// Writes the arena.
    func write() throws -> Int32 {
        defer { extendLifetime(kept) }
        return try Arena.write(list)
    }

    private final class Freed {
        let memory: UnsafeMutableRawBufferPointer
        init(_ memory: UnsafeMutableRawBufferPointer) { self.memory = memory }
        deinit { memory.deallocate() }
    }
}

extension Arena {
    /// Block `i` as plain values.
    /// - Throws: `Arena.Malformed`, also when there are not `count` of them.
    package func values<Element: BitwiseCopyable>(_ i: Int, _ type: Element.Type, count: Int? = nil) throws -> [Element]
    {
        Array(try buffer(i, type, count: count))
    }

    /// Block `i` where it lies; for reading.
    package func buffer<Element: BitwiseCopyable>(_ i: Int, _ type: Element.Type, count: Int? = nil) throws
        -> UnsafeBufferPointer<Element>
    {
        guard let block = blocks[checked: i], block.count % MemoryLayout<Element>.stride == 0 else {
            throw Malformed(reason: "no block \(i) of \(type)")
        }
        let typed = block.bindMemory(to: type)
        if let count, typed.count != count { throw Malformed(reason: "\(typed.count) of \(count) elements") }
        return typed
    }
}
