import Glibc

/// The first bytes of a file, as far as they say whether it can be a plugin here, and the notes they lead to.
///
/// The dynamic loader refuses such files too, but says "invalid ELF header" of a text file and of an object for
/// another processor alike.
struct SharedObjectHeader {
    /// The contents of the note segments.
    private let noteSegments: [[UInt8]]

    /// - Throws: `PluginError.unreadable`, `.worldWritable`, `.notASharedObject`, `.wrongMachine`.
    @discardableResult static func check(_ path: String) throws -> SharedObjectHeader {
        func unreadable() -> PluginError { .unreadable(path: path, reason: String(cString: strerror(errno))) }
        // Not to wait for whoever writes into a FIFO.
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw unreadable() }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw unreadable() }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw PluginError.notASharedObject(
                path: path, found: status.st_mode & S_IFMT == S_IFDIR ? "a folder" : "a special file")
        }
        // Loading runs the file's code as this user.
        guard status.st_mode & S_IWOTH == 0 else { throw PluginError.worldWritable(path: path) }
        func bytes(_ count: Int, at offset: UInt64) throws -> [UInt8] {
            guard let offset = off_t(exactly: offset) else { return [] }
            var bytes = [UInt8](repeating: 0, count: count)
            let got = pread(file, &bytes, count, offset)
            guard got >= 0 else { throw unreadable() }
            return Array(bytes.prefix(got))
        }
        let header = try bytes(64, at: 0)
        try check(header: header, path: path)
        let segmentSize = Int(number(header, 54, bytes: 2)), segmentCount = Int(number(header, 56, bytes: 2))
        let segments = try bytes(segmentSize * segmentCount, at: number(header, 32, bytes: 8))
        try check(segments: segments, segmentSize, segmentCount, fileSize: UInt64(status.st_size), path: path)
        let notes = try (0..<segmentCount).filter { number(segments, $0 * segmentSize, bytes: 4) == 4 }.map { i in
            // A note of ours is at most 64 KiB; what else is beside it is small.
            let size = min(number(segments, i * segmentSize + 32, bytes: 8), UInt64(2 * PluginManifest.limit))
            return try bytes(Int(size), at: number(segments, i * segmentSize + 8, bytes: 8))
        }
        return SharedObjectHeader(noteSegments: notes)
    }

    /// The texts of the notes of an owner and a type, in the file's order. A segment that is cut off or lies about its
    /// sizes ends where it stops making sense.
    func notes(owner: String, type: UInt32) -> [[UInt8]] {
        let name = Array(owner.utf8) + [0]
        var found: [[UInt8]] = []
        for segment in noteSegments {
            var at = 0
            while at + 12 <= segment.count {
                let nameSize = Int(Self.number(segment, at, bytes: 4))
                let textSize = Int(Self.number(segment, at + 4, bytes: 4))
                let text = at + 12 + (nameSize + 3) / 4 * 4, next = text + (textSize + 3) / 4 * 4
                guard textSize <= PluginManifest.limit, text + textSize <= segment.count else { break }
                if Self.number(segment, at + 8, bytes: 4) == UInt64(type), nameSize == name.count,
                    segment[(at + 12)..<(at + 12 + nameSize)].elementsEqual(name)
                {
                    found.append(Array(segment[text..<text + textSize]))
                }
                at = next
            }
        }
        return found
    }

    /// The segments must lie in the file. The loader maps them without a look, and touching a page past the end kills
    /// the process (SIGBUS): a plugin copied halfway would take the run with it.
    private static func check(segments: [UInt8], _ size: Int, _ count: Int, fileSize: UInt64, path: String) throws {
        let truncated = PluginError.notASharedObject(path: path, found: "a truncated ELF file")
        guard size >= 56, count > 0, segments.count == size * count else { throw truncated }
        for i in 0..<count where number(segments, i * size, bytes: 4) == 1 {
            let (end, overflow) = number(segments, i * size + 8, bytes: 8).addingReportingOverflow(
                number(segments, i * size + 32, bytes: 8))
            guard !overflow, end <= fileSize else { throw truncated }
        }
    }

    private static func number(_ bytes: [UInt8], _ offset: Int, bytes count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
    }

    private static func check(header: [UInt8], path: String) throws {
        func wrong(_ found: String) -> PluginError { .notASharedObject(path: path, found: found) }
        guard !header.isEmpty else { throw wrong("an empty file") }
        guard header.starts(with: [0x7F, 0x45, 0x4C, 0x46]) else { throw wrong("a file of another format") }
        guard header.count == 64 else { throw wrong("a truncated ELF file") }
        guard header[4] == 2 else { throw wrong("a 32-bit ELF file") }
        guard header[5] == 1 else { throw wrong("a big-endian ELF file") }
        let type = UInt16(number(header, 16, bytes: 2))
        guard type == 3 else { throw wrong(type == 1 ? "an object file that is not linked" : "ELF of type \(type)") }
        let machine = UInt16(number(header, 18, bytes: 2))
        guard machine == ownMachine else {
            throw PluginError.wrongMachine(path: path, found: name(machine), wanted: name(ownMachine))
        }
    }

    #if arch(x86_64)
        private static let ownMachine: UInt16 = 62
    #elseif arch(arm64)
        private static let ownMachine: UInt16 = 183
    #endif

    private static func name(_ machine: UInt16) -> String {
        switch machine {
        case 62: "x86-64"
        case 183: "AArch64"
        case 243: "RISC-V"
        default: "ELF machine \(machine)"
        }
    }
}
