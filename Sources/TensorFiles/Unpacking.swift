import CZlib
import CZstd

/// Unpacks a stream a piece at a time.
protocol Unpacking: AnyObject {
    /// What shows a user whether a file is whole.
    var checkedBy: String { get }

    /// Whether all that was begun has come to its end, and something was.
    var isAtEnd: Bool { get }

    /// Unpacks from the beginning of `source`, which may be empty, and returns how many bytes it took and gave. That it did neither
    /// means that it needs more.
    func unpack(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) throws(UnpackingError)
        -> (taken: Int, given: Int)
}

/// Why bytes cannot be unpacked, in the library's words.
struct UnpackingError: Error {
    let reason: String
}

/// gzip (RFC 1952), of one or more members, by zlib; checksums are checked.
final class Gunzip: Unpacking {
    let checkedBy = "gzip -t"
    private(set) var isAtEnd = false
    // zlib keeps its address.
    private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    private let started: Int32

    init() {
        stream.initialize(to: z_stream())
        // 16 more than the window: gzip and nothing else.
        started = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
    }

    func unpack(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) throws(UnpackingError)
        -> (taken: Int, given: Int)
    {
        guard started == Z_OK else { throw UnpackingError(reason: "memory is short") }
        if isAtEnd {
            if source.isEmpty { return (0, 0) }
            inflateReset(stream)
            isAtEnd = false
        }
        // zlib counts in 32 bits.
        let (input, output) = (min(source.count, 1 << 30), min(target.count, 1 << 30))
        stream.pointee.next_in = UnsafeMutablePointer(
            mutating: source.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.pointee.avail_in = UInt32(input)
        stream.pointee.next_out = target.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(output)
        switch inflate(stream, Z_NO_FLUSH) {
        case Z_OK, Z_BUF_ERROR: break
        case Z_STREAM_END: isAtEnd = true
        case Z_MEM_ERROR: throw UnpackingError(reason: "memory is short")
        default: throw UnpackingError(reason: stream.pointee.msg.map { String(cString: $0) } ?? "no gzip stream")
        }
        return (input - Int(stream.pointee.avail_in), output - Int(stream.pointee.avail_out))
    }
}

/// Zstandard (RFC 8878), of one or more frames, by libzstd. A frame that asks for a window above 128 MiB, the library's own limit, is
/// refused; so memory is bounded.
final class Unzstandard: Unpacking {
    let checkedBy = "zstd -t"
    private(set) var isAtEnd = false
    private let context = ZSTD_createDCtx()

    deinit { ZSTD_freeDCtx(context) }

    func unpack(_ source: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer) throws(UnpackingError)
        -> (taken: Int, given: Int)
    {
        guard let context else { throw UnpackingError(reason: "memory is short") }
        if isAtEnd, source.isEmpty { return (0, 0) }
        var input = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
        var output = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
        let left = ZSTD_decompressStream(context, &output, &input)
        guard ZSTD_isError(left) == 0 else { throw UnpackingError(reason: String(cString: ZSTD_getErrorName(left))) }
        isAtEnd = left == 0
        return (input.pos, output.pos)
    }
}
