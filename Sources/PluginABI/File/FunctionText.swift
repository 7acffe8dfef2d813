import Glibc
import TensorFiles

/// What the file beside a shared object holds that describes a plain function, kept as it was when it was read.
package struct FunctionText: Codable {
    package let bytes: [UInt8]
    package let sha256: String

    /// The file of a shared object, whether it is there or not: `score.yaml` of `score.so`.
    package static func path(of library: String) -> String { stem(library) + ".yaml" }

    private static func stem(_ library: String) -> String {
        library.hasSuffix(".so") ? String(library.dropLast(3)) : library
    }

    /// The most bytes that it may have.
    private static let limit = 64 * 1024

    /// Nil if there is no such file.
    /// - Throws: `PluginABIError.badFunction` for one that cannot be read.
    init?(beside library: String) throws {
        let path = Self.path(of: library)
        func bad(_ reason: String) -> PluginABIError { .badFunction(path: path, reason: reason) }
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        if file < 0 && errno == ENOENT {
            let old = Self.stem(library) + ".toml"
            guard access(old, F_OK) != 0 else { throw PluginABIError.oldFunction(path: old, wanted: path) }
            return nil
        }
        guard file >= 0 else { throw bad(String(cString: strerror(errno))) }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: Self.limit + 1)
        var count = 0
        while count < bytes.count {
            let got = bytes.withUnsafeMutableBytes { read(file, $0.baseAddress! + count, $0.count - count) }
            guard got >= 0 else { throw bad(String(cString: strerror(errno))) }
            if got == 0 { break }
            count += got
        }
        guard count <= Self.limit else { throw bad("it is longer than 64 KiB") }
        self.bytes = Array(bytes[..<count])
        var hash = SHA256()
        self.bytes.withUnsafeBytes { hash.update($0) }
        sha256 = SHA256.hexadecimal(hash.digest())
    }
}
