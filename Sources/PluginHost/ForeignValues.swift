import Glibc
import TensorFiles

/// Texts in a plugin's memory.
enum ForeignText {
    /// The most bytes of one: a line for people.
    static let limit = 4096

    /// A copy; `bad` makes the error of what it is instead of a text.
    static func read(_ pointer: UnsafePointer<CChar>, _ bad: (String) -> PluginError) throws -> String {
        let count = strnlen(pointer, limit + 1)
        guard count <= limit else { throw bad("longer than \(limit) bytes") }
        guard let text = String(validatingCString: pointer) else { throw bad("not UTF-8") }
        return text
    }
}

/// Sizes that a plugin names, before memory is asked for.
enum ForeignSize {
    /// `bytes`, if they and those `beside` them can be had.
    ///
    /// - Parameter what: "a state", for the message.
    /// - Throws: `PluginError.tooLarge`.
    static func check(
        _ bytes: UInt64, _ what: String, beside: UInt64 = 0, plugin: String, path: String
    ) throws -> Int {
        let available = available()
        let (all, overflow) = bytes.addingReportingOverflow(beside)
        guard !overflow, all <= available, let size = Int(exactly: bytes) else {
            throw PluginError.tooLarge(plugin: plugin, path: path, what: what, bytes: bytes, available: available)
        }
        return size
    }

    /// As `check`, for a number that came from a worker.
    static func check(_ count: Int, _ what: String, plugin: String, path: String) throws -> Int {
        try check(UInt64(bitPattern: Int64(count)), what, plugin: plugin, path: path)
    }

    /// Bytes that this process may still take: what the machine has left, and its limit of address space leaves.
    private static func available() -> UInt64 {
        var least =
            UInt64(max(0, Int(sysconf(Int32(_SC_PHYS_PAGES))))) * UInt64(max(0, Int(sysconf(Int32(_SC_PAGESIZE)))))
        for line in text(of: "/proc/meminfo").split(separator: "\n") where line.hasPrefix("MemAvailable:") {
            let words = line.split(separator: " ")
            if words.count > 1, let kibibytes = UInt64(words[1]), kibibytes < 1 << 44 {
                least = min(least, kibibytes << 10)
            }
        }
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0, limit.rlim_cur < UInt64(Int.max) {
            let pages = text(of: "/proc/self/statm").split(separator: " ").first.flatMap { UInt64($0) } ?? 0
            let used = pages &* UInt64(max(0, Int(sysconf(Int32(_SC_PAGESIZE)))))
            least = min(least, limit.rlim_cur > used ? UInt64(limit.rlim_cur) - used : 0)
        }
        return least
    }

    private static func text(of path: String) -> String {
        guard let file = fopen(path, "re") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 12)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }
}
