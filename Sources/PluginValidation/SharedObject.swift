import Glibc

/// A 64-bit little-endian shared object, as far as its segments and dynamic table tell what loading it would do.
///
/// For files that the host has found to be such an object; what a table points at may still lie outside the file, and is
/// then not there.
struct SharedObject {
    /// A name that it exports, of a function or of data.
    struct Symbol {
        let name: String
        /// Whether other libraries may have it too, and the loader takes one for all: weak or unique.
        let isShared: Bool
    }

    /// What it exports.
    private(set) var exports: [Symbol] = []
    /// Whether it asks for a stack whose contents can be run, as do all that do not say.
    private(set) var hasExecutableStack = true
    /// Whether its code is changed at load, and so is writable for a while.
    private(set) var hasTextRelocations = false
    private let bytes: [UInt8]

    /// - Throws: `PluginCheck.Broken` for a file that cannot be read.
    init(path: String) throws {
        guard let file = fopen(path, "re") else {
            throw PluginCheck.Broken(reason: "\(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(file) }
        fseek(file, 0, SEEK_END)
        let size = max(0, ftell(file))
        rewind(file)
        bytes = [UInt8](unsafeUninitializedCapacity: size) { $1 = fread($0.baseAddress, 1, size, file) }
        let table = number(32, 8), size64 = number(54, 2), count = number(56, 2)
        var segments: [(type: Int, flags: Int, offset: Int, address: Int, size: Int)] = []
        for i in 0..<count {
            let at = table + i * size64
            segments.append(
                (number(at, 4), number(at + 4, 4), number(at + 8, 8), number(at + 16, 8), number(at + 32, 8)))
        }
        /// Where in the file an address of memory lies.
        func offset(_ address: Int) -> Int {
            let segment = segments.first { $0.type == 1 && $0.address <= address && address - $0.address < $0.size }
            return segment.map { address - $0.address + $0.offset } ?? bytes.count
        }
        if let stack = segments.first(where: { $0.type == 0x6474_e551 }) { hasExecutableStack = stack.flags & 1 != 0 }
        guard let dynamic = segments.first(where: { $0.type == 2 }) else { return }
        var entries: [Int: Int] = [:]
        for i in 0..<dynamic.size / 16 {
            let tag = number(dynamic.offset + 16 * i, 8)
            if tag == 0 { break }
            entries[tag] = number(dynamic.offset + 16 * i + 8, 8)
        }
        hasTextRelocations = entries[22] != nil || (entries[30] ?? 0) & 4 != 0
        guard let symbols = entries[6], let names = entries[5] else { return }
        exports = symbolNames(
            from: offset(symbols), count: symbolCount(entries, offset), names: offset(names))
    }

    /// How many symbols there are: by the hash table of System V, or the last that a chain of the GNU one leads to.
    private func symbolCount(_ entries: [Int: Int], _ offset: (Int) -> Int) -> Int {
        if let table = entries[4] { return number(offset(table) + 4, 4) }
        guard let address = entries[0x6fff_fef5] else { return 0 }
        let table = offset(address), buckets = number(table, 4), first = number(table + 4, 4)
        let bucketsAt = table + 16 + 8 * number(table + 8, 4), chainsAt = bucketsAt + 4 * buckets
        guard chainsAt <= bytes.count else { return 0 }
        var last = (0..<buckets).reduce(0) { max($0, number(bucketsAt + 4 * $1, 4)) }
        if last < first { return first }
        while chainsAt + 4 * (last - first) < bytes.count, number(chainsAt + 4 * (last - first), 4) & 1 == 0 {
            last += 1
        }
        return last + 1
    }

    private func symbolNames(from table: Int, count: Int, names: Int) -> [Symbol] {
        var found: [Symbol] = []
        for i in 0..<min(count, max(0, bytes.count - table) / 24) {
            let at = table + 24 * i
            let binding = number(at + 4, 1) >> 4, visibility = number(at + 5, 1) & 3, section = number(at + 6, 2)
            // Defined here; global, weak or unique; default or protected.
            guard section != 0, [1, 2, 10].contains(binding), visibility == 0 || visibility == 3 else { continue }
            let start = min(names + number(at, 4), bytes.count)
            let name = String(decoding: bytes[start...].prefix { $0 != 0 }, as: UTF8.self)
            found.append(Symbol(name: name, isShared: binding != 1))
        }
        return found
    }

    /// A number of the file; 0 outside it.
    private func number(_ offset: Int, _ count: Int) -> Int {
        guard offset >= 0, offset <= bytes.count - count else { return 0 }
        return Int(
            truncatingIfNeeded: (0..<count).reduce(UInt64(0)) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) })
    }
}
