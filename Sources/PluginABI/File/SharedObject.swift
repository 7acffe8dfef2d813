import Glibc

/// The headers of a file, as far as they say whether it can be a plugin here, what loading it would do, the notes they
/// lead to and the libraries that it is linked with: 64-bit, little-endian ELF.
///
/// The dynamic loader refuses such files too, but says "invalid ELF header" of a text file and of an object for
/// another processor alike.
package struct SharedObject {
    /// Names of the libraries that it is linked with.
    private(set) var needed: [String] = []
    /// Folders in which to look for them, as written: its DT_RUNPATH.
    private(set) var runPath: [String]?
    /// The same for what those libraries are linked with too, if there is no `runPath`: its DT_RPATH.
    private(set) var inheritedRunPath: [String]?
    /// Whether it asks for a stack whose contents can be run, as do all that do not say.
    package private(set) var hasExecutableStack = true
    /// Whether its code is changed at load, and so is writable for a while.
    package var hasTextRelocations: Bool { dynamic[22] != nil || (dynamic[30] ?? 0) & 4 != 0 }
    /// The contents of the note segments.
    private var noteSegments: [[UInt8]] = []
    private let segments: [Segment]
    /// Its dynamic table, but for what may be there more than once.
    var dynamic: [UInt64: UInt64] = [:]

    /// Looks at the file at `path`.
    /// - Throws: `PluginFileError.unreadable`, `.worldWritable`, `.notASharedObject`, `.wrongMachine`.
    @discardableResult static func check(_ path: String) throws -> SharedObject {
        let file = try open(path)
        defer { close(file) }
        return try SharedObject(file, path: path)
    }

    /// A descriptor of the file at `path`, for reading.
    /// - Throws: `PluginFileError.unreadable`, `.worldWritable`, `.notASharedObject`.
    static func open(_ path: String) throws -> Int32 {
        func unreadable() -> PluginFileError { .unreadable(path: path, reason: String(cString: strerror(errno))) }
        // Not to wait for whoever writes into a FIFO.
        let file = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw unreadable() }
        do {
            var status = stat()
            guard fstat(file, &status) == 0 else { throw unreadable() }
            guard status.st_mode & S_IFMT == S_IFREG else {
                throw PluginFileError.notASharedObject(
                    path: path, found: status.st_mode & S_IFMT == S_IFDIR ? "a folder" : "a special file")
            }
            // Loading runs the file's code as this user.
            guard status.st_mode & S_IWOTH == 0 else { throw PluginFileError.worldWritable(path: path) }
        } catch {
            close(file)
            throw error
        }
        return file
    }

    /// Looks at the file behind a descriptor, which messages call `path`.
    /// - Throws: `PluginFileError.unreadable`, `.notASharedObject`, `.wrongMachine`.
    init(_ file: Int32, path: String) throws {
        func unreadable() -> PluginFileError { .unreadable(path: path, reason: String(cString: strerror(errno))) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw unreadable() }
        func bytes(_ count: Int, at offset: UInt64) throws -> [UInt8] {
            guard let offset = off_t(exactly: offset) else { return [] }
            var bytes = [UInt8](repeating: 0, count: count)
            let got = pread(file, &bytes, count, offset)
            guard got >= 0 else { throw unreadable() }
            return Array(bytes.prefix(got))
        }
        let header = try bytes(64, at: 0)
        try Self.check(header: header, path: path)
        let size = Int(Self.number(header, 54, bytes: 2)), count = Int(Self.number(header, 56, bytes: 2))
        guard size >= 56, count > 0, size * count <= 1 << 20 else { throw Self.truncated(path) }
        let table = try bytes(size * count, at: Self.number(header, 32, bytes: 8))
        guard table.count == size * count else { throw Self.truncated(path) }
        segments = (0..<count).map { Segment(table, at: $0 * size) }
        try Self.check(segments, fileSize: UInt64(status.st_size), path: path)
        // A note of ours is at most 64 KiB; what else is beside it is small.
        noteSegments = try segments.filter { $0.type == 4 }.prefix(32).map {
            try bytes(Int(min($0.size, UInt64(2 * PluginManifest.limit))), at: $0.offset)
        }
        // PT_GNU_STACK, whose lowest flag is that it can be run.
        if let stack = segments.first(where: { $0.type == 0x6474_e551 }) { hasExecutableStack = stack.flags & 1 != 0 }
        try readDynamicTable(bytes)
    }

    private struct Segment {
        let type: UInt64
        let flags: UInt64
        let offset: UInt64
        let address: UInt64
        let size: UInt64

        init(_ table: [UInt8], at start: Int) {
            type = number(table, start, bytes: 4)
            flags = number(table, start + 4, bytes: 4)
            offset = number(table, start + 8, bytes: 8)
            address = number(table, start + 16, bytes: 8)
            size = number(table, start + 32, bytes: 8)
        }
    }

    /// What it is linked with. A table that makes no sense gives nothing: the loader then says what is wrong.
    private mutating func readDynamicTable(_ bytes: (Int, UInt64) throws -> [UInt8]) throws {
        guard let place = segments.first(where: { $0.type == 2 }) else { return }
        let table = try bytes(Int(min(place.size, 1 << 16)), place.offset)
        var found: [(tag: UInt64, value: UInt64)] = []
        for at in stride(from: 0, through: table.count - 16, by: 16) {
            let (tag, value) = (Self.number(table, at, bytes: 8), Self.number(table, at + 8, bytes: 8))
            if tag == 0 { break }
            dynamic[tag] = value
            if [1, 15, 29].contains(tag) { found.append((tag, value)) }
        }
        guard let names = dynamic[5].flatMap(fileOffset) else { return }
        for (tag, value) in found where value < 1 << 32 && names < 1 << 48 {
            let text = String(decoding: try bytes(4096, names + value).prefix { $0 != 0 }, as: UTF8.self)
            let folders = text.split(separator: ":").map(String.init)
            switch tag {
            case 1: needed.append(text)
            case 15: inheritedRunPath = folders
            default: runPath = folders
            }
        }
    }

    /// Where in the file an address of memory lies; nil if it lies in no part of it.
    func fileOffset(_ address: UInt64) -> UInt64? {
        let segment = segments.first { $0.type == 1 && $0.address <= address && address - $0.address < $0.size }
        return segment.map { (address - $0.address) &+ $0.offset }
    }

    /// The texts of the notes of an owner and a type, in the file's order. A segment that is cut off or lies about its
    /// sizes ends where it stops making sense.
    package func notes(owner: String, type: UInt32) -> [[UInt8]] {
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

    private static func truncated(_ path: String) -> PluginFileError {
        .notASharedObject(path: path, found: "a truncated ELF file")
    }

    /// The segments must lie in the file. The loader maps them without a look, and touching a page past the end kills
    /// the process (SIGBUS): a plugin copied halfway would take the run with it.
    private static func check(_ segments: [Segment], fileSize: UInt64, path: String) throws {
        for segment in segments where segment.type == 1 {
            let (end, overflow) = segment.offset.addingReportingOverflow(segment.size)
            guard !overflow, end <= fileSize else { throw truncated(path) }
        }
    }

    private static func number(_ bytes: [UInt8], _ offset: Int, bytes count: Int) -> UInt64 {
        (0..<count).reduce(0) { $0 | UInt64(bytes[offset + $1]) << UInt64(8 * $1) }
    }

    private static func check(header: [UInt8], path: String) throws {
        func wrong(_ found: String) -> PluginFileError { .notASharedObject(path: path, found: found) }
        guard !header.isEmpty else { throw wrong("an empty file") }
        guard header.starts(with: [0x7F, 0x45, 0x4C, 0x46]) else { throw wrong("a file of another format") }
        guard header.count == 64 else { throw wrong("a truncated ELF file") }
        guard header[4] == 2 else { throw wrong("a 32-bit ELF file") }
        guard header[5] == 1 else { throw wrong("a big-endian ELF file") }
        let type = UInt16(number(header, 16, bytes: 2))
        guard type == 3 else { throw wrong(type == 1 ? "an object file that is not linked" : "ELF of type \(type)") }
        let machine = UInt16(number(header, 18, bytes: 2))
        guard machine == ownMachine else {
            throw PluginFileError.wrongMachine(path: path, found: name(machine), wanted: name(ownMachine))
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
