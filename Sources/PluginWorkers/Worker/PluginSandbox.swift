import CLinux
import Glibc

/// What a worker gives up before it loads a plugin: files to write, the network, other processes.
public enum PluginSandbox {
    /// When it is used.
    public enum Use: String, CaseIterable, Sendable {
        /// As far as the kernel goes.
        case whereThere = "auto"
        /// All of it, or no plugin is run.
        case always = "on"
        /// Not at all.
        case never = "off"
    }

    /// One thing that it takes away.
    public struct Part: Sendable {
        /// What, for people.
        public let name: String
        /// What the kernel needs for it, and lacks; nil where it is there.
        public let missing: String?
    }

    /// All of them, on this machine.
    public static var parts: [Part] {
        let landlock = Int(dmsae_landlock_version()), filters = dmsae_has_call_filters() != 0
        func part(_ name: String, _ version: Int, orFilters: Bool = false) -> Part {
            let isThere = landlock >= version || orFilters && filters
            return Part(name: name, missing: isThere ? nil : "Landlock \(version) (this kernel has \(landlock))")
        }
        return [
            part("writes no files", 3, orFilters: landlock == 0),
            part("reads nothing of other processes in /proc", 1),
            Part(name: "has no network and no sockets but pairs", missing: filters ? nil : "seccomp"),
            Part(name: "neither traces other processes nor reads their memory", missing: filters ? nil : "seccomp"),
            part("signals no processes but its own", 6, orFilters: true),
        ]
    }

    /// The argument that tells a worker to enter it.
    static let argument = "--sandbox"

    /// - Throws: `WorkerError.sandboxMissing` if all of it is wanted and something is missing.
    static func check(_ use: Use) throws {
        guard use == .always, let part = parts.first(where: { $0.missing != nil }) else { return }
        throw WorkerError.sandboxMissing(part: part.name, needs: part.missing ?? "")
    }

    /// In a worker: enters it and starts the program again, so that no thread was there before. Does not return.
    /// - Throws: `WorkerError.sandboxRefused`.
    static func enter(_ arguments: [String]) throws -> Never {
        var what: UnsafePointer<CChar>?
        if dmsae_enter_sandbox(&what) == 0 {
            var argv: [UnsafeMutablePointer<CChar>?] = (["dmsae"] + arguments).map { strdup($0) } + [nil]
            execv("/proc/self/exe", &argv)
            what = nil
        }
        let reason = String(cString: strerror(errno))
        throw WorkerError.sandboxRefused(call: what.map { String(cString: $0) } ?? "exec", reason: reason)
    }
}
