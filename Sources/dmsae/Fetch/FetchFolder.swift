import Glibc
import TensorFiles

/// A folder of the cache that is being filled: made where it was not, locked for as long as this object lives (the kernel drops
/// the lock if the process dies), and free of what an earlier fetch left when it was killed.
final class FetchFolder {
    private let descriptor: Int32

    /// - Throws: `FetchError.unwritable`, and what asks the program to stop while it waits for another.
    init(_ folder: String, waiting: () -> Void) throws {
        try Self.create(folder)
        descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw FetchError.unwritable(path: folder, reason: String(cString: strerror(errno)))
        }
        if flock(descriptor, LOCK_EX | LOCK_NB) != 0 { try wait(waiting) }
        Self.removeLeftovers(in: folder)
    }

    private func wait(_ waiting: () -> Void) throws {
        waiting()
        // Looked at now and then: a call that waits is not ended by a signal that only asks.
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK || errno == EINTR {
            try Interruption.request.check()
            usleep(100_000)
        }
    }

    private static func create(_ folder: String) throws {
        var path = ""
        for part in folder.split(separator: "/", omittingEmptySubsequences: false) {
            path += part
            if !path.isEmpty, mkdir(path, 0o777) != 0, errno != EEXIST {
                throw FetchError.unwritable(path: path, reason: String(cString: strerror(errno)))
            }
            path += "/"
        }
    }

    /// Only with the lock held: what is there then is nobody's.
    private static func removeLeftovers(in folder: String) {
        for name in (try? namesInFolder(folder)) ?? []
        where name.hasPrefix(TemporaryDownload.prefix) || name.hasPrefix(".") && name.hasSuffix(".partial") {
            TemporaryDownload.remove(folder + "/" + name)
        }
    }

    deinit { close(descriptor) }
}
