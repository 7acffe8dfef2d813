import Glibc
import LinearAlgebra

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
        let limit = MemoryLimit.current
        let (all, overflow) = bytes.addingReportingOverflow(beside)
        guard !overflow, all <= UInt64(limit.available), let size = Int(exactly: bytes) else {
            throw PluginError.tooLarge(plugin: plugin, path: path, what: what, bytes: bytes, limit: limit.reason)
        }
        return size
    }

    /// As `check`, for a number that came from a worker.
    static func check(_ count: Int, _ what: String, plugin: String, path: String) throws -> Int {
        try check(UInt64(bitPattern: Int64(count)), what, plugin: plugin, path: path)
    }
}
