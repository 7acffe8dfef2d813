import Glibc

/// The right to write an output, a folder or a file, for as long as this object lives: of two programs, the second is
/// turned away. The kernel drops it with the process, so no kill leaves a lock behind that anyone waits for.
///
/// A file beside the output, not the folder itself: network file systems lock only files that are open for writing. It
/// holds the owner's process id, and goes with the lock.
public final class OutputLock: Sendable {
    /// What is written, as given by the caller.
    public let output: String
    private let path: String
    /// Of the lock's file in its folder.
    private let name: String
    private let descriptor: Int32
    private let folder: Int32

    /// Locks a folder, which is made if it is not there, and clears what a killed program left half written in it.
    ///
    /// - Throws: `OutputLockError.inUse`; `TensorFileError.unwritable`.
    public static func folder(_ path: String) throws -> OutputLock {
        try createFolder(path)
        let lock = try OutputLock(output: path, in: path, name: ".lock")
        AtomicFile.removeLeftovers(in: path)
        return lock
    }

    /// Locks a file that is written again and again, such as a checkpoint, there already or not.
    ///
    /// - Throws: as `folder`.
    public static func file(_ path: String) throws -> OutputLock {
        let cut = path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex
        return try OutputLock(
            output: path, in: cut == path.startIndex ? "." : String(path[..<cut]), name: ".\(path[cut...]).lock")
    }

    private init(output: String, in folderPath: String, name: String) throws {
        let place = folderPath.hasSuffix("/") ? folderPath + name : folderPath + "/" + name
        let folder = open(folderPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        var kept: Int32 = -1
        do {
            kept = try Self.lockedFile(place, of: output)
        } catch {
            if folder >= 0 { close(folder) }
            throw error
        }
        (self.output, path, self.name, descriptor, self.folder) = (output, place, name, kept, folder)
        let owner = Array("\(getpid())\n".utf8)
        // Only for the message that others get.
        ftruncate(descriptor, 0)
        _ = owner.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    }

    deinit {
        // Removed while it is locked: whoever waits to open it finds no file, and whoever has it open finds it gone.
        // By the folder's descriptor: it may have been moved.
        var status = stat()
        if folder >= 0, fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0,
            Identity(status) == Self.identity(descriptor)
        {
            unlinkat(folder, name, 0)
        }
        close(descriptor)
        if folder >= 0 { close(folder) }
    }

    /// Opens and locks the file. One that another program removed in between is not it any more: once more then.
    private static func lockedFile(_ path: String, of output: String) throws -> Int32 {
        while true {
            let descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o666)
            guard descriptor >= 0 else {
                let number = errno
                let reason = number == ELOOP ? "it is a link" : String(cString: strerror(number))
                // The folder may well be writable, and the lock in it another user's.
                let isLock = number == ELOOP || access(path, F_OK) == 0
                throw TensorFileError.unwritable(file: isLock ? path : output, reason: reason)
            }
            guard let own = identity(descriptor) else {
                close(descriptor)
                throw TensorFileError.unwritable(file: path, reason: "it is not a file")
            }
            // A file system without locks is not a reason to stop.
            if flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK {
                defer { close(descriptor) }
                throw OutputLockError.inUse(output: output, process: owner(descriptor))
            }
            if identity(path) == own { return descriptor }
            close(descriptor)
        }
    }

    /// Throws unless this lock is still the one at its place: asked before everything that is written by path, so that a
    /// folder that was moved or removed meanwhile, and another program's that has its name now, is left alone.
    ///
    /// - Throws: `OutputLockError.moved`, `.removed`.
    public func requireInPlace() throws {
        if isInPlace { return }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = buffer.withUnsafeMutableBytes { readlink("/proc/self/fd/\(folder)", $0.baseAddress!, $0.count) }
        let now = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
        var status = stat()
        guard folder >= 0, fstat(folder, &status) == 0, status.st_nlink > 0, count > 0, !now.hasSuffix(" (deleted)")
        else { throw OutputLockError.removed(output: output) }
        throw OutputLockError.moved(output: output, now: now)
    }

    private var isInPlace: Bool {
        guard let own = Self.identity(descriptor) else { return false }
        return Self.identity(path) == own
    }

    private struct Identity: Equatable {
        let device: UInt
        let inode: UInt
        init?(_ status: stat) {
            guard status.st_mode & S_IFMT == S_IFREG else { return nil }
            (device, inode) = (UInt(status.st_dev), UInt(status.st_ino))
        }
    }

    private static func identity(_ path: String) -> Identity? {
        var status = stat()
        return lstat(path, &status) == 0 ? Identity(status) : nil
    }

    private static func identity(_ descriptor: Int32) -> Identity? {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? Identity(status) : nil
    }

    /// The process id that an owner wrote; nil if there is none to be read.
    private static func owner(_ descriptor: Int32) -> Int? {
        var buffer = [UInt8](repeating: 0, count: 32)
        let count = buffer.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
        let text = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self).split(separator: "\n").first
        return text.flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
    }
}

/// Why an output is not this program's to write.
public enum OutputLockError: Error, CustomStringConvertible, Equatable {
    /// Another program is writing there.
    case inUse(output: String, process: Int?)
    /// The folder was renamed while this program wrote into it.
    case moved(output: String, now: String)
    /// The folder, or the lock in it, was removed.
    case removed(output: String)

    /// What failed, on which value, what to do next.
    public var description: String {
        switch self {
        case .inUse(let output, let process):
            "\(output) is being written by another program" + (process.map { " (process \($0))" } ?? "")
                + "; wait for it or write elsewhere"
        case .moved(let output, let now):
            "\(output) was moved, or its lock removed, while it was being written; what is finished is in \(now), and "
                + "nothing more is written: go on from there"
        case .removed(let output):
            "\(output) was removed while it was being written; nothing more is written: start again"
        }
    }
}
