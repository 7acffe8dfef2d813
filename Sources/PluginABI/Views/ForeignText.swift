import Glibc
import TensorFiles

/// Texts in a plugin's memory.
package enum ForeignText {
    /// The most bytes of one: a line for people.
    package static let limit = 4096

    /// What a plugin wrote into a buffer of ours, fit for a terminal. One that forgot the ending zero byte costs the last
    /// character, not a read past the buffer; bytes that are not UTF-8 are shown as such and not dropped.
    package static func answer(_ buffer: UnsafeMutableBufferPointer<CChar>) -> String {
        let bytes = buffer.dropLast().prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return printable(String(decoding: bytes, as: UTF8.self))
    }

    /// A copy; `bad` makes the error of what it is instead of a text.
    package static func read(_ pointer: UnsafePointer<CChar>, _ bad: (String) -> PluginABIError) throws -> String {
        let count = strnlen(pointer, limit + 1)
        guard count <= limit else { throw bad("longer than \(limit) bytes") }
        guard let text = String(validatingCString: pointer) else { throw bad("not UTF-8") }
        return text
    }
}
