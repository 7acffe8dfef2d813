import CLinux
import Glibc
import Synchronization

/// A file that appears under its name complete or not at all: written beside it under a temporary name, synced,
/// then renamed. Dropped without `commit()`, it removes what it wrote; what a kill leaves is removed by the next who
/// writes a file of that name.
///
/// The temporary file is locked as long as it is written: that, and not the process id in its name, tells the dead from
/// the living, since another container may count processes in another way.
public final class AtomicFile {
    private let path: String
    private let folder: OpenFolder
    private let name: String
    private let temporaryName: String
    private var descriptor: Int32
    private var isSynced = false
    /// Where the temporary file is remembered, so that a signal that ends the program removes it.
    private var slot: Int32 = -1

    private static let serial = Atomic<Int>(0)

    /// Opens a temporary file in the folder of `path`.
    ///
    /// Throws `TensorFileError.unwritable`.
    public init(path: String) throws {
        let (folderPath, name) = (parentFolder(of: path), nameInFolder(path))
        guard !name.isEmpty else { throw TensorFileError.unwritable(file: path, reason: "the name is empty") }
        let folder = try OpenFolder(folderPath, for: path)
        try Self.requireReplaceable(path)
        (self.path, self.folder, self.name) = (path, folder, name)
        Self.removeLeftovers(of: name, in: folderPath)
        while true {
            let number = Self.serial.add(1, ordering: .relaxed).newValue
            // Cut short, so that a name near the length limit still has a temporary one.
            let candidate = ".\(Self.stem(name)).\(getpid())-\(number).partial"
            descriptor = openat(folder.descriptor, candidate, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
            if descriptor >= 0 {
                if Self.isOwned(descriptor) {
                    temporaryName = candidate
                    slot = dmsae_remember_temporary(folder.descriptor, candidate)
                    return
                }
                close(descriptor)
                continue
            }
            // Left behind by an earlier process of the same number.
            if errno != EEXIST {
                throw TensorFileError.unwritable(file: path, reason: String(cString: strerror(errno)))
            }
        }
    }

    /// A rename would put a file in the place of /dev/null as readily as of another file, and say only then that the name is
    /// too long.
    private static func requireReplaceable(_ path: String) throws {
        var status = stat()
        if stat(path, &status) != 0 {
            guard errno == ENAMETOOLONG else { return }
            throw TensorFileError.unwritable(file: path, reason: String(cString: strerror(errno)))
        }
        // /dev/stdout is a link to one, and may lead to a file at the moment.
        if linkTarget(path)?.hasPrefix("/proc/") == true {
            throw TensorFileError.unwritable(file: path, reason: "it is an open file of a process, not a name for one")
        }
        guard status.st_mode & S_IFMT != S_IFREG else { return }
        let isFolder = status.st_mode & S_IFMT == S_IFDIR
        throw TensorFileError.unwritable(
            file: path, reason: isFolder ? "it is a folder" : "it is a device, not a file")
    }

    deinit {
        if descriptor >= 0 {
            close(descriptor)
            unlinkat(folder.descriptor, temporaryName, 0)
            dmsae_forget_temporary(slot)
        }
    }

    /// Appends bytes at the file's position.
    ///
    /// - Throws: `TensorFileError.unwritable`.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        try loop(bytes) { descriptor, start, count, _ in Glibc.write(descriptor, start, count) }
    }

    /// Writes bytes at a position counted from the start of the file.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        try loop(bytes) { descriptor, start, count, done in pwrite(descriptor, start, count, offset + done) }
    }

    /// Syncs the contents, so that little can fail when the file is given its name: for files that belong together.
    public func sync() throws {
        precondition(descriptor >= 0, "\(path) was committed before")
        guard fsync(descriptor) == 0 else { throw unwritable() }
        isSynced = true
    }

    /// Syncs the contents and gives the file its name, replacing what had it, a link as well.
    ///
    /// - Throws: `TensorFileError.unwritable`; `.unusable` where the folder is another now than when the file was opened: what
    ///   was asked for would not be where it was asked for.
    /// - Parameter syncingFolder: false where another file of the same folder is committed right after.
    public func commit(syncingFolder: Bool = true) throws {
        if !isSynced { try sync() }
        guard folder.isInPlace else {
            throw TensorFileError.unusable(
                file: path,
                what: "its folder was moved or removed while it was being written; nothing has this name now",
                next: "run the command again")
        }
        guard renameat(folder.descriptor, temporaryName, folder.descriptor, name) == 0 else { throw unwritable() }
        close(descriptor)
        descriptor = -1
        dmsae_forget_temporary(slot)
        if syncingFolder { folder.sync() }
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

    /// What a temporary name has of a name: at most 160 bytes, where file systems allow 255.
    private static func stem(_ name: String) -> Substring {
        var bytes = 0
        let end = name.unicodeScalars.firstIndex {
            bytes += UTF8.width($0)
            return bytes > 160
        }
        return name[..<(end ?? name.endIndex)]
    }

    /// Locks a temporary file that was just made. False if another program took it for a leftover in that instant.
    private static func isOwned(_ descriptor: Int32) -> Bool {
        if flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK { return false }
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_nlink > 0
    }

    // MARK: What kills leave

    /// Names of temporary files by folder, as they were when this program first wrote there.
    private static let leftovers = Mutex<[String: [String]]>([:])

    private static func removeLeftovers(of name: String, in folder: String) {
        let found = leftovers.withLock { known in
            if let names = known[folder] { return names }
            let names = temporaryNames(in: folder)
            known[folder] = names
            return names
        }
        let prefix = ".\(stem(name))."
        for name in found where name.hasPrefix(prefix) && isTemporary(name.dropFirst(prefix.count)) {
            removeUnlessOwned(folder + "/" + name)
        }
    }

    /// Removes the temporary files in a folder that is this program's to write, but for those that are being written.
    package static func removeLeftovers(in folder: String) {
        for name in temporaryNames(in: folder) { removeUnlessOwned(folder + "/" + name) }
    }

    private static func temporaryNames(in folder: String) -> [String] {
        // Where nothing can be looked up, nothing is cleared.
        ((try? namesInFolder(folder)) ?? []).filter { name in
            guard name.hasPrefix("."), let last = name.dropLast(8).lastIndex(of: ".") else { return false }
            return isTemporary(name[name.index(after: last)...])
        }
    }

    /// Whether the end of a name is "PROCESS-NUMBER.partial".
    private static func isTemporary(_ end: Substring) -> Bool {
        guard end.hasSuffix(".partial") else { return false }
        let numbers = end.dropLast(8).split(separator: "-", omittingEmptySubsequences: false)
        return numbers.count == 2
            && numbers.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { (0x30...0x39).contains($0) } }
    }

    private static func removeUnlessOwned(_ path: String) {
        let descriptor = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return }
        if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { unlink(path) }
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
