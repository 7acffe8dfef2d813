import CZlib
import Glibc
import TensorFiles

/// Files in memory: readers take paths.
enum Scratch {
    /// Made and removed by the script.
    static let folder = getenv("DMSAE_FUZZ_FOLDER").map { String(cString: $0) } ?? "/dev/shm"

    /// Writes a file, its folders too, and returns its path.
    static func file(_ name: String, _ parts: [UnsafeRawBufferPointer]) throws -> String {
        let path = folder + "/" + name
        var parent = folder
        for part in name.split(separator: "/").dropLast() {
            parent += "/" + part
            mkdir(parent, 0o700)
        }
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        precondition(descriptor >= 0, "cannot write \(path)")
        defer { close(descriptor) }
        for part in parts where part.count > 0 {
            precondition(Glibc.write(descriptor, part.baseAddress, part.count) == part.count, "cannot write \(path)")
        }
        return path
    }

    /// Writes an archive of stored entries, as PKWARE's APPNOTE has them, with the checksums that they have.
    static func archive(_ name: String, _ entries: KeyValuePairs<String, UnsafeRawBufferPointer>) throws -> String {
        var (bytes, directory): ([UInt8], [UInt8]) = ([], [])
        for (name, content) in entries {
            let start = content.baseAddress?.assumingMemoryBound(to: UInt8.self)
            let checksum = UInt32(truncatingIfNeeded: crc32_z(0, start, content.count))
            let size = little(UInt32(content.count))
            let common =
                [20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0] + little(checksum) + size + size + little(UInt16(name.utf8.count))
            directory +=
                [0x50, 0x4B, 1, 2, 20, 0] + common + [UInt8](repeating: 0, count: 12) + little(UInt32(bytes.count))
            directory += name.utf8
            bytes += [0x50, 0x4B, 3, 4] + common + [0, 0] + name.utf8 + content
        }
        let end =
            [0x50, 0x4B, 5, 6, 0, 0, 0, 0] + little(UInt16(entries.count)) + little(UInt16(entries.count))
            + little(UInt32(directory.count)) + little(UInt32(bytes.count)) + [0, 0]
        return try (bytes + directory + end).withUnsafeBytes { try file(name, [$0]) }
    }

    private static func little<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.littleEndian) { Array($0) }
    }
}
