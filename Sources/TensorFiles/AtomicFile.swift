import CLinux
import Glibc
import Synchronization

/// A file that appears under its name complete or not at all: written beside it under a temporary name, synced,
/// then renamed. Dropped without `commit()`, it removes what it wrote.
public final class AtomicFile {
    private let path: String
    private let temporaryPath: String
    private var descriptor: Int32
    /// Where the temporary file is remembered, so that a signal that ends the program removes it.
    private var slot: Int32 = -1

    private static let serial = Atomic<Int>(0)

    /// Opens a temporary file in the folder of `path`.
    ///
    /// Throws `TensorFileError.unwritable`.
    public init(path: String) throws {
        let cut = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        let (folder, name) = (path[..<cut], path[cut...])
        guard !name.isEmpty else { throw TensorFileError.unwritable(file: path, reason: "the name is empty") }
        // A rename would put a file in the place of /dev/null as readily as of another file.
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
            let isFolder = status.st_mode & S_IFMT == S_IFDIR
            throw TensorFileError.unwritable(
                file: path, reason: isFolder ? "it is a folder" : "it is a device, not a file")
        }
        self.path = path
        while true {
            let number = Self.serial.add(1, ordering: .relaxed).newValue
            // Cut short, so that a name near the length limit still has a temporary one.
            let candidate = "\(folder).\(name.prefix(48)).\(getpid())-\(number).partial"
            descriptor = open(candidate, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            if descriptor >= 0 {
                temporaryPath = candidate
                slot = dmsae_remember_temporary(candidate)
                return
            }
            // Left behind by an earlier process of the same number.
            if errno != EEXIST {
                throw TensorFileError.unwritable(file: path, reason: String(cString: strerror(errno)))
            }
        }
    }

    deinit {
        if descriptor >= 0 {
            close(descriptor)
            unlink(temporaryPath)
            dmsae_forget_temporary(slot)
        }
    }

    /// Appends bytes.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        try loop(bytes) { descriptor, start, count, _ in Glibc.write(descriptor, start, count) }
    }

    /// Writes bytes at a position counted from the start of the file.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        try loop(bytes) { descriptor, start, count, done in pwrite(descriptor, start, count, offset + done) }
    }

    /// Syncs the contents and gives the file its name, replacing what had it.
    public func commit() throws {
        precondition(descriptor >= 0, "\(path) was committed before")
        guard fsync(descriptor) == 0, rename(temporaryPath, path) == 0 else { throw unwritable() }
        close(descriptor)
        descriptor = -1
        dmsae_forget_temporary(slot)
        // The name itself is safe once the folder is synced; a folder that cannot be opened for that (no read
        // permission) or a file system without folder syncing leaves only that last guarantee out.
        let cut = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        let folder = open(cut == path.startIndex ? "." : String(path[..<cut]), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if folder >= 0 {
            fsync(folder)
            close(folder)
        }
    }

    /// Throws `TensorFileError.unwritable` where a file at `path` could not be written: for asking before the work
    /// whose result it is to hold.
    public static func requireWritable(_ path: String) throws { _ = try AtomicFile(path: path) }

    /// Writes a whole file.
    public static func write(_ bytes: [UInt8], to path: String) throws {
        let file = try AtomicFile(path: path)
        try bytes.withUnsafeBytes { try file.write($0) }
        try file.commit()
    }

    /// Writes a whole text file, in UTF-8.
    public static func write(_ text: String, to path: String) throws {
        try write(Array(text.utf8), to: path)
    }

    private func loop(
        _ bytes: UnsafeRawBufferPointer, _ put: (Int32, UnsafeRawPointer, Int, Int) -> Int
    ) throws {
        precondition(descriptor >= 0, "\(path) was committed before")
        guard let start = bytes.baseAddress else { return }
        var done = 0
        while done < bytes.count {
            // Linux writes at most 2 GiB a call; a smaller piece keeps an interrupted one cheap.
            let written = put(descriptor, start + done, min(bytes.count - done, 1 << 26), done)
            if written < 0 {
                if errno == EINTR { continue }
                throw unwritable()
            }
            done += written
        }
    }

    private func unwritable() -> TensorFileError {
        .unwritable(file: path, reason: Self.reason(errno))
    }

    /// What an error of writing means. The C library's "File too large" does not say whose limit it is.
    public static func reason(_ number: Int32) -> String {
        let text = String(cString: strerror(number))
        guard number == EFBIG else { return text }
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0, limit.rlim_cur < UInt64(Int.max)
        else {
            return text + " for the file system"
        }
        return text + ", the limit on files is \(limit.rlim_cur) bytes (ulimit -f)"
    }
}
