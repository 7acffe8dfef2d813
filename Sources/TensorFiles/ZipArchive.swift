import CZlib
import LinearAlgebra

/// A mapped ZIP archive (PKWARE APPNOTE 6.3), as PyTorch and NumPy write them: stored or
/// deflated entries, 64-bit sizes.
///
/// The directory is checked whole before anything is read: every entry lies in the file, none overlaps another or the
/// directory, what stands before an entry's bytes agrees with what the directory says. Checksums are checked when
/// an entry is read.
package final class ZipArchive: Sendable {
    /// As given by the caller; for messages.
    package let path: String
    /// Names of the entries.
    package var names: [String] { entries.keys.sorted() }
    private let file: MappedFile
    private let entries: [String: Entry]

    /// One file in the archive.
    struct Entry {
        var bytes: Range<Int>
        var size: Int
        var isDeflated: Bool
        var checksum: UInt32
    }

    /// Maps the file and reads its directory.
    ///
    /// - Throws: `TensorFileError` for a file that is no such archive, or contradicts itself.
    package init(path: String) throws {
        self.path = path
        file = try MappedFile(path: path)
        entries = try ZipDirectory(file).entries()
    }

    /// Whether a file begins as an archive does.
    package static func isOne(_ file: MappedFile) -> Bool {
        file.count >= 4 && file.slice(0..<4).elementsEqual([0x50, 0x4B, 0x03, 0x04])
    }

    /// Bytes of what an entry holds; nil for one that is not there.
    package func size(_ name: String) -> Int? { entries[name]?.size }

    /// What an entry holds.
    package final class Contents: Sendable {
        /// Its bytes, for as long as this object lives.
        package nonisolated(unsafe) let bytes: UnsafeRawBufferPointer
        private let archive: ZipArchive
        private let isOwned: Bool

        fileprivate init(_ bytes: UnsafeRawBufferPointer, of archive: ZipArchive, isOwned: Bool) {
            (self.bytes, self.archive, self.isOwned) = (bytes, archive, isOwned)
        }

        deinit { if isOwned { bytes.deallocate() } }
    }

    /// The bytes of an entry: where they are mapped, or inflated into memory.
    ///
    /// - Throws: `TensorFileError` for an entry that is not there or whose bytes are not those that were put in;
    ///   `ResourceError` for more than there is memory for.
    package func contents(_ name: String) throws -> Contents {
        guard let entry = entries[name] else {
            throw TensorFileError.malformed(file: path, what: "it has no entry \"\(name)\"", next: "fetch it again")
        }
        let stored = file.slice(entry.bytes)
        let result =
            entry.isDeflated
            ? Contents(try inflated(stored, entry, name), of: self, isOwned: true)
            : Contents(stored, of: self, isOwned: false)
        guard Self.checksum(result.bytes) == entry.checksum else {
            throw damaged("entry \"\(name)\" is not what was put in: its checksum differs")
        }
        return result
    }

    private func inflated(_ source: UnsafeRawBufferPointer, _ entry: Entry, _ name: String) throws
        -> UnsafeRawBufferPointer
    {
        // The most that DEFLATE can do; what claims more is made to take memory.
        guard entry.size <= 1032 * source.count + 64 else {
            throw damaged("entry \"\(name)\" cannot hold \(entry.size) bytes in \(source.count)")
        }
        var need = MemoryNeed("unpacking \(name) of \(path) needs", advice: "store it without compression")
        need.add("its contents", entry.size)
        try need.check()
        let target = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, entry.size), alignment: 64)
        var stream = z_stream()
        var status = inflateInit2_(&stream, -15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
        // zlib counts in 32 bits.
        let most = Int(UInt32.max) / 2
        var (read, written) = (0, 0)
        while status == Z_OK {
            let (input, output) = (min(most, source.count - read), min(most, entry.size - written))
            stream.next_in = UnsafeMutablePointer(
                mutating: (source.baseAddress! + read).assumingMemoryBound(to: UInt8.self))
            stream.avail_in = UInt32(input)
            stream.next_out = (target.baseAddress! + written).assumingMemoryBound(to: UInt8.self)
            stream.avail_out = UInt32(output)
            status = inflate(&stream, Z_NO_FLUSH)
            let (taken, given) = (input - Int(stream.avail_in), output - Int(stream.avail_out))
            (read, written) = (read + taken, written + given)
            if taken == 0 && given == 0 { break }
        }
        inflateEnd(&stream)
        guard status == Z_STREAM_END, written == entry.size, read == source.count else {
            target.deallocate()
            throw damaged("entry \"\(name)\" does not unpack to the \(entry.size) bytes that it should hold")
        }
        return UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(target)[..<entry.size])
    }

    private static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        UInt32(truncatingIfNeeded: crc32_z(0, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count))
    }

    private func damaged(_ what: String) -> TensorFileError {
        .malformed(file: path, what: what, next: "the file is damaged, fetch it again")
    }
}

/// Reads the directory at the end of an archive.
private struct ZipDirectory {
    private let file: MappedFile
    private let all: UnsafeRawBufferPointer

    init(_ file: MappedFile) {
        self.file = file
        all = file.slice(0..<file.count)
    }

    private func malformed(_ what: String) -> TensorFileError {
        .malformed(file: file.path, what: "it is no sound ZIP archive: \(what)", next: "fetch it again")
    }

    private func number<Number: FixedWidthInteger>(_ at: Int, _: Number.Type) throws -> Int {
        guard at >= 0, at <= all.count - MemoryLayout<Number>.size else { throw malformed("it ends too early") }
        let value = Number(littleEndian: all.loadUnaligned(fromByteOffset: at, as: Number.self))
        guard let result = Int(exactly: value) else { throw malformed("a size of \(value)") }
        return result
    }

    func entries() throws -> [String: ZipArchive.Entry] {
        let (count, directory) = try place()
        var result: [String: ZipArchive.Entry] = [:]
        var occupied = [directory]
        var at = directory.lowerBound
        for _ in 0..<count {
            let (name, entry, header, next) = try entry(at, before: directory)
            guard result.updateValue(entry, forKey: name) == nil else {
                throw malformed("entry \"\(name)\" appears twice")
            }
            occupied.append(header..<entry.bytes.upperBound)
            at = next
        }
        guard at <= directory.upperBound else { throw malformed("its directory is longer than it says") }
        occupied.sort { ($0.lowerBound, $0.upperBound) < ($1.lowerBound, $1.upperBound) }
        for (before, after) in zip(occupied, occupied.dropFirst()) where before.upperBound > after.lowerBound {
            throw malformed("two of its entries share bytes")
        }
        return result
    }

    /// How many entries there are, and where the directory is.
    private func place() throws -> (count: Int, directory: Range<Int>) {
        // A comment of up to 64 KiB may follow the end record.
        let first = max(0, all.count - 22 - 0xFFFF)
        guard all.count >= 22,
            let end = stride(from: all.count - 22, through: first, by: -1).first(where: {
                all[$0] == 0x50 && all[$0 + 1] == 0x4B && all[$0 + 2] == 5 && all[$0 + 3] == 6
                    && Int(all[$0 + 20]) | Int(all[$0 + 21]) << 8 == all.count - 22 - $0
            })
        else { throw malformed("the record at its end is missing; perhaps it was cut short") }
        var (count, size) = (try number(end + 10, UInt16.self), try number(end + 12, UInt32.self))
        var start = try number(end + 16, UInt32.self)
        guard try number(end + 4, UInt16.self) == 0, try number(end + 6, UInt16.self) == 0 else {
            throw malformed("it is one of several parts")
        }
        if count == 0xFFFF || size == 0xFFFF_FFFF || start == 0xFFFF_FFFF {
            guard end >= 20, try number(end - 20, UInt32.self) == 0x0706_4B50 else {
                throw malformed("its 64-bit record is missing")
            }
            let record = try number(end - 12, UInt64.self)
            guard try number(record, UInt32.self) == 0x0606_4B50 else {
                throw malformed("its 64-bit record is missing")
            }
            count = try number(record + 32, UInt64.self)
            size = try number(record + 40, UInt64.self)
            start = try number(record + 48, UInt64.self)
        }
        // An entry of the directory takes 46 bytes.
        guard start <= all.count, size <= all.count - start, count <= size / 46 else {
            throw malformed("its directory does not lie in the file")
        }
        return (count, start..<start + size)
    }

    private func entry(
        _ at: Int, before directory: Range<Int>
    ) throws -> (name: String, entry: ZipArchive.Entry, header: Int, next: Int) {
        guard try number(at, UInt32.self) == 0x0201_4B50 else { throw malformed("its directory is not one") }
        let (flags, method) = (try number(at + 8, UInt16.self), try number(at + 10, UInt16.self))
        let (nameLength, extraLength) = (try number(at + 28, UInt16.self), try number(at + 30, UInt16.self))
        let comment = try number(at + 32, UInt16.self)
        let next = at + 46 + nameLength + extraLength + comment
        guard next <= directory.upperBound else { throw malformed("its directory ends too early") }
        guard let name = String(validating: all[at + 46..<at + 46 + nameLength], as: UTF8.self) else {
            throw malformed("the name of an entry is not UTF-8")
        }
        guard flags & 1 == 0 else { throw unsupported("entry \"\(name)\" is encrypted") }
        guard method == 0 || method == 8 else {
            throw unsupported("entry \"\(name)\" is packed by method \(method), not stored or deflated")
        }
        var (packed, size) = (try number(at + 20, UInt32.self), try number(at + 24, UInt32.self))
        var header = try number(at + 42, UInt32.self)
        try wide(at + 46 + nameLength, extraLength, &size, &packed, &header)
        guard try number(header, UInt32.self) == 0x0403_4B50,
            try number(header + 26, UInt16.self) == nameLength, header + 30 + nameLength <= all.count,
            all[header + 30..<header + 30 + nameLength].elementsEqual(all[at + 46..<at + 46 + nameLength]),
            try number(header + 8, UInt16.self) == method
        else { throw malformed("what stands before entry \"\(name)\" is not what the directory says") }
        let start = header + 30 + nameLength + (try number(header + 28, UInt16.self))
        guard start <= directory.lowerBound, packed <= directory.lowerBound - start, method == 8 || packed == size
        else {
            throw malformed("entry \"\(name)\" does not lie before the directory")
        }
        let entry = ZipArchive.Entry(
            bytes: start..<start + packed, size: size, isDeflated: method == 8,
            checksum: UInt32(try number(at + 16, UInt32.self)))
        return (name, entry, header, next)
    }

    /// Takes from the extra field what does not fit into 32 bits.
    private func wide(_ start: Int, _ length: Int, _ size: inout Int, _ packed: inout Int, _ header: inout Int) throws {
        var at = start
        while at + 4 <= start + length {
            let (kind, count) = (try number(at, UInt16.self), try number(at + 2, UInt16.self))
            guard at + 4 + count <= start + length else { throw malformed("an extra field is cut short") }
            if kind == 1 {
                var place = at + 4
                func take(_ value: inout Int) throws {
                    guard value == 0xFFFF_FFFF else { return }
                    guard place + 8 <= at + 4 + count else { throw malformed("a 64-bit size is missing") }
                    value = try number(place, UInt64.self)
                    place += 8
                }
                try take(&size)
                try take(&packed)
                try take(&header)
            }
            at += 4 + count
        }
    }

    private func unsupported(_ what: String) -> TensorFileError {
        .unsupported(file: file.path, what: what, next: "write it anew, stored")
    }
}
