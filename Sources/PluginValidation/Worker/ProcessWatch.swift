import CLinux
import Glibc
import PluginABI
import TensorFiles

/// What a plugin left behind in the process it runs in.
struct ProcessTraces: Codable, Sendable {
    /// What is other than it was before the file was loaded, in words (DMSAE-CALL-02).
    var changes: [String]
    /// Bytes that malloc has lent out.
    var allocatedBytes: Int
    /// Bytes of memory in use, allocated by whatever means.
    var residentBytes: Int
    var descriptors: Int
    var threads: Int
    /// Whether its threads use the processor while nothing is asked of them.
    var isBusy: Bool
}

/// Remembers how a worker was, so that what a plugin changes in it can be told.
///
/// Standard output and error become files that nobody reads, so that what is written there is known to the byte, up to
/// a MiB, when they are full; a crash of a watched plugin has no last words.
final class ProcessWatch {
    private let before: [String: String]
    private let output: [(name: String, file: Int32)]
    private var modesAtStart = 0
    private static let mostOutput = off_t(1 << 20)

    /// - Throws: `SystemRefusal` without descriptors.
    init() throws {
        output = try [("standard output", Int32(1)), ("standard error", Int32(2))].map { name, number in
            let file = dmsae_memfd(name)
            guard file >= 0, ftruncate(file, Self.mostOutput) == 0, dmsae_memfd_keep_size(file) == 0,
                dup2(file, number) >= 0
            else {
                throw SystemRefusal(what: name, reason: String(cString: strerror(errno)))
            }
            return (name, file)
        }
        before = Self.state()
    }

    /// From here on floating-point modes count: a library built by `-ffast-math` may change them
    /// merely by being loaded.
    func libraryIsLoaded() { modesAtStart = changedModes.load(ordering: .relaxed) }

    /// How the process is now.
    func traces() -> ProcessTraces {
        // First, so that what is counted is not what looking takes.
        let resources = Self.resources()
        let now = Self.state()
        var changes = Set(before.keys).union(now.keys).sorted().compactMap { key -> String? in
            let (was, found) = (before[key], now[key])
            return was == found ? nil : "\(key) is \(found ?? "gone") and was \(was ?? "not there")"
        }
        fflush(nil)
        for (name, file) in output {
            // All who write there share this place in the file.
            let written = lseek(file, 0, SEEK_CUR)
            if written > 0 {
                changes.append("\(written) bytes\(written < Self.mostOutput ? "" : " or more") went to \(name)")
            }
        }
        let modes = changedModes.load(ordering: .relaxed) - modesAtStart
        if modes > 0 { changes.append("rounding or denormal modes were left changed \(modes) times") }
        return ProcessTraces(
            changes: changes, allocatedBytes: resources.bytes, residentBytes: Self.residentBytes(),
            descriptors: resources.descriptors, threads: resources.threads, isBusy: Self.isBusy())
    }

    /// Bytes that malloc has lent out, open descriptors, threads.
    static func resources() -> (bytes: Int, descriptors: Int, threads: Int) {
        (dmsae_allocated(), entries("/proc/self/fd"), entries("/proc/self/task"))
    }

    /// Whether this process uses the processor while this thread sleeps. Threads may wait awake for more work for a
    /// while, as those of OpenMP do for a fifth of a second: a whole second without one quiet twentieth is no waiting.
    private static func isBusy() -> Bool {
        func used() -> Int {
            var time = timespec()
            clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
            return time.tv_sec * 1_000_000_000 + time.tv_nsec
        }
        for _ in 0..<20 {
            let before = used()
            usleep(50_000)
            if used() - before < 2_000_000 { return false }
        }
        return true
    }

    /// What DMSAE-CALL-02 says is left as found, by name.
    private static func state() -> [String: String] {
        var state: [String: String] = [:]
        if let folder = getcwd(nil, 0) {
            state["the working folder"] = String(cString: folder)
            free(folder)
        }
        state["the locale"] = setlocale(LC_ALL, nil).map { String(cString: $0) }
        state["the locale of the thread"] = "\(Int(bitPattern: uselocale(nil)))"
        var mask = sigset_t()
        pthread_sigmask(SIG_SETMASK, nil, &mask)
        for signal in Int32(1)...64 {
            state["signal \(signal) in the mask"] = sigismember(&mask, signal) == 1 ? "blocked" : "open"
            var action = sigaction()
            guard sigaction(signal, nil, &action) == 0 else { continue }
            let handler = unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self)
            state["the handler of signal \(signal)"] =
                handler == 0 ? "the default" : handler == 1 ? "to ignore it" : "at \(handler)"
        }
        var text = [CChar](repeating: 0, count: 1 << 14)
        dmsae_process_state(&text, text.count)
        let lines = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        for line in lines.split(separator: "\n") {
            let pair = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            state[String(pair[0])] = pair.count > 1 ? String(pair[1]) : ""
        }
        for (key, value) in kernelsView() { state[key] = value }
        var variable = environ
        while let text = variable.pointee {
            let pair = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            state["the environment variable \(pair[0])"] = pair.count > 1 ? "'\(pair[1])'" : "''"
            variable += 1
        }
        return state
    }

    /// What only /proc tells: rights, namespaces, children, timers, memory that is held in place.
    private static func kernelsView() -> [(String, String)] {
        var found: [(String, String)] = []
        let wanted = [
            "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp_filters",
            "VmLck",
        ]
        for line in text(of: "/proc/self/status").split(separator: "\n") {
            let pair = line.split(separator: ":", maxSplits: 1)
            guard pair.count == 2, wanted.contains(String(pair[0])) else { continue }
            found.append(("\(pair[0]) of /proc/self/status", pair[1].filter { $0 != "\t" && $0 != " " }))
        }
        for link in ["root", "ns/mnt", "ns/net", "ns/pid", "ns/user", "ns/uts", "ns/ipc", "ns/cgroup", "ns/time"] {
            var target = [CChar](repeating: 0, count: 1024)
            let count = readlink("/proc/self/\(link)", &target, target.count - 1)
            if count > 0 {
                let bytes = target[..<count].map { UInt8(bitPattern: $0) }
                found.append(("/proc/self/\(link)", String(decoding: bytes, as: UTF8.self)))
            }
        }
        for file in ["oom_score_adj", "coredump_filter", "cgroup"] {
            found.append(("/proc/self/\(file)", text(of: "/proc/self/\(file)").filter { $0 != "\n" }))
        }
        let timers = text(of: "/proc/self/timers").split(separator: "\n").count { $0.hasPrefix("ID:") }
        found.append(("the number of its timers", "\(timers)"))
        let children = names("/proc/self/task").map { text(of: "/proc/self/task/\($0)/children") }
            .reduce(0) { $0 + $1.split(separator: " ").count }
        found.append(("the number of its child processes", "\(children)"))
        return found
    }

    private static func text(of path: String) -> String {
        guard let file = fopen(path, "re") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 14)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    private static func residentBytes() -> Int {
        let words = text(of: "/proc/self/statm").split(separator: " ")
        let pages = words.count > 1 ? Int(words[1]) ?? 0 : 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    private static func entries(_ folder: String) -> Int { names(folder).count }

    private static func names(_ folder: String) -> [String] { (try? namesInFolder(folder)) ?? [] }
}
