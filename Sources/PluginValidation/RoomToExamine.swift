import Glibc

/// What of this machine keeps a plugin from being examined: what would fail is not the plugin.
public struct Unexaminable: Error, CustomStringConvertible {
    /// What could not be had, and what to do.
    public let description: String

    init(_ path: String, _ reason: String) { description = "cannot examine \(path): \(reason)" }
}

/// What checks need of the system, tried before the first: under a small limit a plugin fails as a broken one does, and
/// nobody could tell the two apart.
enum RoomToExamine {
    private static let threads = 24, files = 64, bytes = 1 << 30, seconds = 120, fileSize = 64 << 20

    /// - Throws: `Unexaminable` with the limit that is too small.
    static func check(for path: String) throws {
        func require(_ isThere: Bool, _ what: String, _ letter: String, _ now: String) throws {
            if isThere { return }
            throw Unexaminable(
                path,
                "the checks need \(what), and the limit (ulimit -\(letter)) is \(now); raise it, since a plugin that fails "
                    + "under it cannot be told from a broken one")
        }
        func limit(_ resource: __rlimit_resource) -> Int {
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(resource.rawValue), &limit)
            return Int(clamping: limit.rlim_cur)
        }
        func shown(_ limit: Int, _ unit: Int = 1, _ name: String = "") -> String {
            limit == .max ? "reached by what runs already" : "\(limit / unit)\(name)"
        }
        let memory = limit(RLIMIT_AS), data = limit(RLIMIT_DATA)
        try require(
            canReserve(bytes), "\(bytes >> 20) MiB of memory more", memory <= data ? "v" : "d",
            shown(min(memory, data), 1 << 20, " MiB"))
        try require(canOpen(files), "\(files) more open files", "n", shown(limit(RLIMIT_NOFILE)))
        try require(canStart(threads), "\(threads) more processes and threads", "u", shown(limit(__RLIMIT_NPROC)))
        var used = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &used)
        let time = limit(RLIMIT_CPU)
        try require(
            time - used.ru_utime.tv_sec >= seconds, "\(seconds) s of processor time", "t", shown(time, 1, " s"))
        let file = limit(RLIMIT_FSIZE)
        try require(
            file >= fileSize, "files of \(fileSize >> 20) MiB, as which memory that processes share counts", "f",
            shown(file, 1024, " KiB"))
    }

    private static func canReserve(_ bytes: Int) -> Bool {
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let memory = mmap(nil, bytes, PROT_READ | PROT_WRITE, flags, -1, 0), memory != MAP_FAILED else {
            return false
        }
        munmap(memory, bytes)
        return true
    }

    private static func canOpen(_ count: Int) -> Bool {
        let files = (0..<count).map { _ in open("/dev/null", O_RDONLY | O_CLOEXEC) }
        for file in files where file >= 0 { close(file) }
        return files.allSatisfy { $0 >= 0 }
    }

    /// Threads count as processes do.
    private static func canStart(_ count: Int) -> Bool {
        var started: [pthread_t] = []
        for _ in 0..<count {
            var thread = pthread_t()
            let status = pthread_create(
                &thread, nil,
                { _ in
                    usleep(20_000)
                    return nil
                }, nil)
            if status == 0 { started.append(thread) }
        }
        for thread in started { pthread_join(thread, nil) }
        return started.count == count
    }
}
