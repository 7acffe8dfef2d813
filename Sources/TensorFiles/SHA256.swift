import CCrypto
import Glibc

/// SHA-256 (FIPS 180-4), for telling whether a file is the one meant and for recording what a run was made from.
///
/// OpenSSL's, which uses the processor's instructions for it: 1 to 2 GB/s.
public struct SHA256: Sendable {
    private var context = Context()

    /// Nothing hashed yet.
    public init() {}

    /// Hashes more bytes.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        if !isKnownUniquelyReferenced(&context) { context = Context(copying: context) }
        context.update(bytes)
    }

    /// The digest of everything hashed, 32 bytes; the value itself is not changed.
    public func digest() -> [UInt8] { Context(copying: context).finish() }

    /// OpenSSL's state, owned.
    private final class Context: @unchecked Sendable {
        private let state: OpaquePointer

        init() {
            state = Self.allocate()
            require(EVP_DigestInit_ex(state, EVP_sha256(), nil))
        }

        init(copying other: Context) {
            state = Self.allocate()
            require(EVP_MD_CTX_copy_ex(state, other.state))
        }

        deinit { EVP_MD_CTX_free(state) }

        func update(_ bytes: UnsafeRawBufferPointer) {
            guard let start = bytes.baseAddress else { return }
            require(EVP_DigestUpdate(state, start, bytes.count))
        }

        func finish() -> [UInt8] {
            var digest = [UInt8](repeating: 0, count: 32)
            require(EVP_DigestFinal_ex(state, &digest, nil))
            return digest
        }

        private static func allocate() -> OpaquePointer {
            guard let state = EVP_MD_CTX_new() else { preconditionFailure("no memory for 100 bytes of SHA-256") }
            return state
        }

        /// These calls fail for want of memory alone, or where SHA-256 is switched off in OpenSSL's configuration.
        private func require(_ result: Int32) { precondition(result == 1, "OpenSSL has no SHA-256") }
    }
}

extension SHA256 {
    /// The digest of a text's UTF-8.
    public static func digest(of text: String) -> [UInt8] {
        var hash = SHA256()
        Array(text.utf8).withUnsafeBytes { hash.update($0) }
        return hash.digest()
    }

    /// The digest of a file's contents in hexadecimal, remembered for large files (`RememberedHashes`).
    ///
    /// - Parameter progress: called with the bytes of each piece.
    /// - Throws: `TensorFileError.unreadable`; what `progress` throws.
    public static func hexadecimal(ofFile path: String, progress: (Int) throws -> Void = { _ in }) throws -> String {
        try OpenFile(path).hexadecimal(RememberedHashes.standard, progress)
    }

    /// Two lower-case digits a byte.
    public static func hexadecimal(_ digest: [UInt8]) -> String {
        let digits = Array("0123456789abcdef")
        return String(digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}

/// A file open for hashing: read, not mapped, so that one that shrinks meanwhile is no more than a shorter one.
package struct OpenFile: ~Copyable {
    private let path: String
    private let descriptor: Int32

    package init(_ path: String) throws {
        self.path = path
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.unreadable(path) }
    }

    deinit { close(descriptor) }

    package func status() throws -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Self.unreadable(path) }
        return status
    }

    package func hexadecimal(_ remembered: RememberedHashes, _ progress: (Int) throws -> Void) throws -> String {
        let before = try status()
        guard before.st_mode & S_IFMT == S_IFREG else {
            throw TensorFileError.noOrdinaryFile(path, before)
        }
        if let known = remembered.hash(of: before) {
            try progress(Int(before.st_size))
            return known
        }
        var hash = SHA256()
        var buffer = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = buffer.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw Self.unreadable(path) }
            if count == 0 { break }
            buffer.withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            try progress(count)
        }
        let result = SHA256.hexadecimal(hash.digest())
        remembered.remember(result, of: before, unchanged: try status())
        return result
    }

    private static func unreadable(_ path: String) -> TensorFileError {
        .unreadable(file: path, reason: String(cString: strerror(errno)))
    }
}
