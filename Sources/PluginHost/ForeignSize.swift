import LinearAlgebra
import PluginABI

/// Sizes that a plugin names, before memory is asked for.
package enum ForeignSize {
    /// `bytes`, if they and those `beside` them can be had.
    ///
    /// - Parameter what: "a state", for the message.
    /// - Throws: `PluginCallError.tooLarge`.
    package static func check(
        _ bytes: UInt64, _ what: String, beside: UInt64 = 0, plugin: String, path: String
    ) throws -> Int {
        let limit = MemoryLimit.current
        let (all, overflow) = bytes.addingReportingOverflow(beside)
        guard !overflow, all <= UInt64(limit.available), let size = Int(exactly: bytes) else {
            throw PluginCallError.tooLarge(plugin: plugin, path: path, what: what, bytes: bytes, limit: limit.reason)
        }
        return size
    }

    /// As `check`, for a number that came from a worker.
    package static func check(_ count: Int, _ what: String, plugin: String, path: String) throws -> Int {
        try check(UInt64(bitPattern: Int64(count)), what, plugin: plugin, path: path)
    }
}
