import CLinux
import Glibc

/// What a plugin left behind in the process it runs in.
public struct ProcessTraces: Codable, Sendable {
    /// What is other than it was before the file was loaded, in words (DMSAE-CALL-02).
    public var changes: [String]
    /// Bytes that malloc has lent out.
    public var allocatedBytes: Int
    /// Bytes of memory in use, allocated by whatever means.
    public var residentBytes: Int
    /// Open descriptors.
    public var descriptors: Int
    /// Threads.
    public var threads: Int
}

/// Remembers how a worker was, so that what a plugin changes in it can be told.
///
/// Standard output and error become files that nobody reads, so that what is written there is known to the byte, up to a
/// MiB, when they are full; a crash of a watched plugin has no last words.
final class ProcessWatch {
    private let before: [String: String]
    private let output: [(name: String, file: Int32)]
    private var modesAtStart = 0
    private static let mostOutput = off_t(1 << 20)

    /// - Throws: `PluginError.refused` without descriptors.
    init() throws {
        output = try [("standard output", Int32(1)), ("standard error", Int32(2))].map { name, number in
            let file = dmsae_memfd(name)
            guard file >= 0, ftruncate(file, Self.mostOutput) == 0, dmsae_memfd_keep_size(file) == 0,
                dup2(file, number) >= 0
            else {
                throw PluginError.refused(what: name, reason: String(cString: strerror(errno)))
            }
            return (name, file)
        }
        before = Self.state()
    }

    /// From here on floating-point modes count: a library built by `-ffast-math` may change them merely by being loaded.
    func libraryIsLoaded() { modesAtStart = changedModes.load(ordering: .relaxed) }

    /// How the process is now.
    func traces() -> ProcessTraces {
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
            changes: changes, allocatedBytes: dmsae_allocated(), residentBytes: Self.residentBytes(),
            descriptors: Self.entries("/proc/self/fd"), threads: Self.entries("/proc/self/task"))
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
        var variable = environ
        while let text = variable.pointee {
            let pair = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            state["the environment variable \(pair[0])"] = pair.count > 1 ? "'\(pair[1])'" : "''"
            variable += 1
        }
        return state
    }

    private static func residentBytes() -> Int {
        guard let file = fopen("/proc/self/statm", "re") else { return 0 }
        defer { fclose(file) }
        var text = [CChar](repeating: 0, count: 128)
        guard fgets(&text, Int32(text.count), file) != nil else { return 0 }
        let words = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }.split(separator: 0x20)
        let pages = words.count > 1 ? Int(String(decoding: words[1], as: UTF8.self)) ?? 0 : 0
        return pages * Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    private static func entries(_ folder: String) -> Int {
        guard let stream = opendir(folder) else { return 0 }
        defer { closedir(stream) }
        var count = 0
        while readdir(stream) != nil { count += 1 }
        return count
    }
}
