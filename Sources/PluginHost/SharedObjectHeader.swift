import Glibc

/// The first bytes of a file, as far as they say whether it can be a plugin here.
///
/// The dynamic loader refuses such files too, but says "invalid ELF header" of a text file and of an object for
/// another processor alike.
struct SharedObjectHeader {
    /// - Throws: `PluginError.unreadable`, `.worldWritable`, `.notASharedObject`, `.wrongMachine`.
    static func check(_ path: String) throws {
        func unreadable() -> PluginError { .unreadable(path: path, reason: String(cString: strerror(errno))) }
        let file = open(path, O_RDONLY | O_CLOEXEC)
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
        var header = [UInt8](repeating: 0, count: 20)
        let got = pread(file, &header, header.count, 0)
        guard got >= 0 else { throw unreadable() }
        try check(header: header.prefix(got), path: path)
    }

    private static func check(header: ArraySlice<UInt8>, path: String) throws {
        func wrong(_ found: String) -> PluginError { .notASharedObject(path: path, found: found) }
        guard !header.isEmpty else { throw wrong("an empty file") }
        guard header.starts(with: [0x7F, 0x45, 0x4C, 0x46]) else { throw wrong("a file of another format") }
        guard header.count == 20 else { throw wrong("a truncated ELF file") }
        guard header[4] == 2 else { throw wrong("a 32-bit ELF file") }
        guard header[5] == 1 else { throw wrong("a big-endian ELF file") }
        let type = UInt16(header[16]) | UInt16(header[17]) << 8
        guard type == 3 else { throw wrong(type == 1 ? "an object file that is not linked" : "ELF of type \(type)") }
        let machine = UInt16(header[18]) | UInt16(header[19]) << 8
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
