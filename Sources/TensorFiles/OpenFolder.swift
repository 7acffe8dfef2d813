import CLinux
import Glibc

/// A folder held by a descriptor: what is made, renamed and removed through it stays in that folder, wherever it is
/// moved meanwhile and whatever has its name then.
final class OpenFolder: Sendable {
    /// As given by the caller; "." for the current one.
    let path: String
    /// For openat and its like. Not for reading: a folder may be written to without that right.
    let descriptor: Int32

    /// - Parameter output: what is to be written in it, for the message.
    /// - Throws: `TensorFileError.unwritable`.
    init(_ path: String, for output: String) throws {
        self.path = path
        descriptor = dmsae_open_folder(path)
        guard descriptor >= 0 else {
            throw TensorFileError.unwritable(file: output, reason: String(cString: strerror(errno)))
        }
    }

    deinit { close(descriptor) }

    /// Whether `path` still leads to it.
    var isInPlace: Bool {
        var own = stat(), named = stat()
        guard fstat(descriptor, &own) == 0, stat(path, &named) == 0 else { return false }
        return own.st_dev == named.st_dev && own.st_ino == named.st_ino
    }

    /// Where it is now; nil for one that was removed, or where nobody can say.
    var currentPath: String? {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_nlink > 0,
            let now = linkTarget("/proc/self/fd/\(descriptor)"), !now.hasSuffix(" (deleted)")
        else { return nil }
        return now
    }

    /// Makes names that were given in it last. One that may not be read, or a file system without such a thing,
    /// leaves that guarantee out.
    func sync() {
        let readable = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard readable >= 0 else { return }
        fsync(readable)
        close(readable)
    }
}

/// What a symbolic link holds; nil for what is none.
func linkTarget(_ path: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes { readlink(path, $0.baseAddress!, $0.count) }
    return count < 0 ? nil : String(decoding: buffer.prefix(count), as: UTF8.self)
}
