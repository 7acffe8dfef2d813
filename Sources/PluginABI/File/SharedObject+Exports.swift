import Glibc

extension SharedObject {
    /// A name that a file exports, of a function or of data.
    package struct Symbol {
        /// As the linker wrote it.
        package let name: String
        /// Whether other libraries may have it too, and the loader takes one for all: weak or unique.
        package let isShared: Bool
    }

    /// What the file behind a descriptor, whose headers these are, exports. What a table points at may lie outside the
    /// file, and is then not there.
    /// - Throws: `PluginFileError.unreadable`.
    package func exports(in file: Int32, path: String) throws -> [Symbol] {
        let bytes = try Bytes(file, path: path)
        func offset(_ tag: UInt64) -> Int? { dynamic[tag].map { Int(clamping: fileOffset($0) ?? .max) } }
        guard let table = offset(6), let names = offset(5) else { return [] }
        let count = symbolCount(bytes, sysv: offset(4), gnu: offset(0x6fff_fef5))
        return symbols(bytes, from: table, count: count, names: names)
    }

    /// How many symbols there are: by the hash table of System V, or the last that a chain of the GNU one leads to.
    private func symbolCount(_ bytes: Bytes, sysv: Int?, gnu: Int?) -> Int {
        if let sysv { return bytes.number(sysv &+ 4, 4) }
        guard let table = gnu else { return 0 }
        let buckets = bytes.number(table, 4), first = bytes.number(table &+ 4, 4)
        let bucketsAt = table &+ 16 &+ 8 * bytes.number(table &+ 8, 4), chainsAt = bucketsAt &+ 4 * buckets
        guard table < bytes.count, chainsAt <= bytes.count else { return 0 }
        var last = (0..<buckets).reduce(0) { max($0, bytes.number(bucketsAt + 4 * $1, 4)) }
        if last < first { return first }
        while chainsAt + 4 * (last - first) < bytes.count, bytes.number(chainsAt + 4 * (last - first), 4) & 1 == 0 {
            last += 1
        }
        return last + 1
    }

    private func symbols(_ bytes: Bytes, from table: Int, count: Int, names: Int) -> [Symbol] {
        var found: [Symbol] = []
        for i in 0..<min(count, max(0, bytes.count - table) / 24) {
            let at = table + 24 * i
            let binding = bytes.number(at + 4, 1) >> 4, visibility = bytes.number(at + 5, 1) & 3
            // Defined here; global, weak or unique; default or protected.
            guard bytes.number(at + 6, 2) != 0, [1, 2, 10].contains(binding), visibility == 0 || visibility == 3 else {
                continue
            }
            found.append(Symbol(name: bytes.text(at: names &+ bytes.number(at, 4)), isShared: binding != 1))
        }
        return found
    }

    /// All of a file.
    private struct Bytes {
        private let all: [UInt8]
        var count: Int { all.count }

        init(_ file: Int32, path: String) throws {
            func unreadable() -> PluginFileError { .unreadable(path: path, reason: String(cString: strerror(errno))) }
            var status = stat()
            guard fstat(file, &status) == 0 else { throw unreadable() }
            let size = Int(status.st_size)
            var got = 0
            all = [UInt8](unsafeUninitializedCapacity: size) {
                got = pread(file, $0.baseAddress, size, 0)
                $1 = max(0, got)
            }
            guard got >= 0 else { throw unreadable() }
        }

        /// A number of the file; 0 outside it.
        func number(_ offset: Int, _ size: Int) -> Int {
            guard offset >= 0, offset <= count - size else { return 0 }
            return Int(
                truncatingIfNeeded: (0..<size).reduce(UInt64(0)) { $0 | UInt64(all[offset + $1]) << UInt64(8 * $1) })
        }

        /// A text that ends with a zero byte or the file.
        func text(at offset: Int) -> String {
            let start = min(max(0, offset), count)
            return String(decoding: all[start...].prefix { $0 != 0 }, as: UTF8.self)
        }
    }
}
