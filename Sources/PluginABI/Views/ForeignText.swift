import Glibc

/// Texts in a plugin's memory.
package enum ForeignText {
    /// The most bytes of one: a line for people.
    package static let limit = 4096

    /// A copy; `bad` makes the error of what it is instead of a text.
    package static func read(_ pointer: UnsafePointer<CChar>, _ bad: (String) -> PluginABIError) throws -> String {
        let count = strnlen(pointer, limit + 1)
        guard count <= limit else { throw bad("longer than \(limit) bytes") }
        guard let text = String(validatingCString: pointer) else { throw bad("not UTF-8") }
        return text
    }
}
