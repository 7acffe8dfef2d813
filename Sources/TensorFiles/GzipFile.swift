import CZlib

/// A file packed with gzip (RFC 1952) as it is written, which appears whole or not at all. It bears no time, so that the same bytes
/// make the same file.
package final class GzipFile {
    private let path: String
    private let file: AtomicFile
    // zlib keeps its address.
    private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    private var buffer = [UInt8](repeating: 0, count: 1 << 16)

    /// Opens it.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    package init(path: String) throws {
        self.path = path
        file = try AtomicFile(path: path)
        stream.initialize(to: z_stream())
        // 16 more than the window: gzip and nothing else. Level 5 packs JSON nearly as small as 9, at twice its speed.
        let started = deflateInit2_(
            stream, 5, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        guard started == Z_OK else { throw TensorFileError.unwritable(file: path, reason: "memory is short") }
    }

    deinit {
        deflateEnd(stream)
        stream.deallocate()
    }

    /// Packs and appends bytes.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    package func write(_ bytes: [UInt8]) throws {
        // zlib counts in 32 bits.
        for first in stride(from: 0, to: bytes.count, by: 1 << 30) {
            try bytes[first..<min(first + 1 << 30, bytes.count)].withUnsafeBytes { try pack($0, Z_NO_FLUSH) }
        }
    }

    /// Ends the stream and gives the file its name.
    ///
    /// - Throws: as `AtomicFile.commit`.
    package func commit() throws {
        try pack(UnsafeRawBufferPointer(start: nil, count: 0), Z_FINISH)
        try file.commit()
    }

    private func pack(_ bytes: UnsafeRawBufferPointer, _ flush: Int32) throws {
        stream.pointee.next_in = UnsafeMutablePointer(mutating: bytes.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.pointee.avail_in = UInt32(bytes.count)
        repeat {
            let room = buffer.count
            let given = buffer.withUnsafeMutableBufferPointer { target in
                stream.pointee.next_out = target.baseAddress
                stream.pointee.avail_out = UInt32(room)
                deflate(stream, flush)
                return room - Int(stream.pointee.avail_out)
            }
            try buffer.withUnsafeBytes { try file.write(UnsafeRawBufferPointer(rebasing: $0[..<given])) }
        } while stream.pointee.avail_out == 0
    }
}
