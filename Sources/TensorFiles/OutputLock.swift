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
    private let folder: OpenFolder
    /// How to go on from where the output is now.
    private let advice: @Sendable (String) -> String

    /// Locks a folder, which is made if it is not there, and clears what a killed program left half written in it.
    ///
    /// - Parameter advice: what to do where the folder, or the lock in it, is moved while it is written;
    ///   gets its new path.
    /// - Throws: `OutputLockError.inUse`; `TensorFileError.unwritable`.
    public static func folder(
        _ path: String, advice: @escaping @Sendable (_ now: String) -> String = { _ in "run the command again" }
    ) throws -> OutputLock {
        try createFolder(path)
        let lock = try OutputLock(output: path, in: path, name: ".lock", advice)
        AtomicFile.removeLeftovers(in: path)
        return lock
    }

    /// Locks a file that is written again and again, such as a checkpoint, there already or not.
    ///
    /// - Throws: as `folder`.
    public static func file(
        _ path: String, advice: @escaping @Sendable (_ now: String) -> String = { _ in "run the command again" }
    ) throws -> OutputLock {
        let name = nameInFolder(path)
        return try OutputLock(output: path, in: parentFolder(of: path), name: ".\(name).lock") {
            advice($0 + "/" + name)
        }
    }

    private init(
        output: String, in folderPath: String, name: String, _ advice: @escaping @Sendable (String) -> String
    ) throws {
        folder = try OpenFolder(folderPath, for: output)
        path = folderPath.hasSuffix("/") ? folderPath + name : folderPath + "/" + name
        let (file, isOurs) = try Self.lockedFile(path, of: output)
        (self.output, self.name, self.advice, descriptor) = (output, name, advice, file)
        guard isOurs else { return }
        let owner = Array("\(getpid())\n".utf8)
        // Only for the message that others get.
        ftruncate(descriptor, 0)
        _ = owner.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    }

    deinit {
        // Removed while it is locked: whoever waits to open it finds no file, and whoever has it open finds it gone.
        // By the folder's descriptor: it may have been moved.
        var status = stat()
        if fstatat(folder.descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0,
            Identity(status) == Self.identity(descriptor)
        {
            unlinkat(folder.descriptor, name, 0)
        }
        close(descriptor)
    }

    /// Opens and locks the file. One that another program removed in between is not it any more: once more then.
    ///
    /// Another user's, left by a kill, can be read at most; a lock on it is as good, and only bears no
    /// process id of ours.
    private static func lockedFile(_ path: String, of output: String) throws -> (descriptor: Int32, isOurs: Bool) {
        let flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
        while true {
            var descriptor = open(path, O_RDWR | O_CREAT | flags, 0o666)
            let isOurs = descriptor >= 0
            if !isOurs && errno == EACCES { descriptor = open(path, O_RDONLY | flags) }
            guard descriptor >= 0 else { throw refusal(errno, path, of: output) }
            guard let own = identity(descriptor) else {
                close(descriptor)
                throw TensorFileError.unwritable(file: path, reason: "it is not a file")
            }
            // A file system without locks is not a reason to stop.
            if flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK {
                defer { close(descriptor) }
                throw OutputLockError.inUse(output: output, process: owner(descriptor))
            }
            if identity(path) == own { return (descriptor, isOurs) }
            close(descriptor)
        }
    }

    /// The folder may well be writable, and the lock in it not.
    private static func refusal(_ number: Int32, _ path: String, of output: String) -> TensorFileError {
        let reason = number == ELOOP ? "it is a link" : String(cString: strerror(number))
        guard number == ELOOP || exists(path) else { return .unwritable(file: output, reason: reason) }
        guard number == EACCES else { return .unwritable(file: path, reason: reason) }
        return .unusable(
            file: path, what: "this lock is another user's and cannot be read",
            next: "remove it if no program of theirs is writing there, or write elsewhere")
    }

    /// Throws unless this lock is still the one at its place: asked before everything that is written by path, so that
    /// a folder that was moved or removed meanwhile, and another program's that has its name now, is left alone.
    ///
    /// - Throws: `OutputLockError.moved`, `.unlocked`, `.removed`.
    public func requireInPlace() throws {
        if isInPlace { return }
        guard let now = folder.currentPath else { throw OutputLockError.removed(output: output) }
        if folder.isInPlace { throw OutputLockError.unlocked(output: output, lock: path) }
        throw OutputLockError.moved(output: output, now: now, next: advice(now))
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
    /// The folder was renamed to `now` while this program wrote into it.
    case moved(output: String, now: String, next: String)
    /// The lock in the folder was removed or replaced.
    case unlocked(output: String, lock: String)
    /// The folder was removed.
    case removed(output: String)

    /// What failed, on which value, what to do next.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .inUse(let output, let process):
            "\(output) is being written by another program" + (process.map { " (process \($0))" } ?? "")
                + "; wait for it or write elsewhere"
        case .moved(let output, let now, let next):
            "\(output) was moved to \(now) while it was being written; nothing more is written: \(next)"
        case .unlocked(let output, let lock):
            "\(lock) was removed while \(output) was being written, so that another program may be writing there too; nothing "
                + "more is written: run the command again, and leave that file to it"
        case .removed(let output):
            "\(output) was removed while it was being written; nothing more is written: run the command again"
        }
    }
}
