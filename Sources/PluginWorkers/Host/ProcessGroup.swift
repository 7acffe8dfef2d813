import CLinux
import Glibc
import PluginABI

/// A program started beside this one, in a process group of its own, so that it can be ended with all it started.
///
/// By `posix_spawn`, never by a bare `fork`: a forked copy of a program with running lanes holds locks that nobody
/// will release.
package final class ProcessGroup: @unchecked Sendable {
    /// How a process ended.
    package enum End: Equatable, Sendable {
        /// It returned this status.
        case exited(Int32)
        /// This signal ended it.
        case killed(signal: Int32)
    }

    /// Its id, and that of its group.
    package let id: pid_t
    private let descriptor: Int32
    private var end: End?

    /// Starts `executable`.
    ///
    /// - Parameters:
    ///   - arguments: without the program's name.
    ///   - environment: all of it, as `KEY=VALUE`.
    ///   - descriptors: descriptors of this process and the numbers under which the child has them; it has no others
    ///     but those that are not close-on-exec here.
    /// - Throws: `SystemRefusal` with the system's reason.
    package init(
        executable: String, arguments: [String], environment: [String], descriptors: [(here: Int32, there: Int32)]
    ) throws {
        var actions = posix_spawn_file_actions_t(), attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        // Copied out of the way of the numbers they are to have: what has number 3 here may be wanted as 4 there, after
        // another was put in its place.
        let clear = (descriptors.map(\.there).max() ?? 0) + 1
        let sources = descriptors.map { fcntl($0.here, F_DUPFD_CLOEXEC, clear) }
        defer { for source in sources where source >= 0 { close(source) } }
        guard sources.allSatisfy({ $0 >= 0 }) else {
            throw SystemRefusal(what: "a descriptor", reason: String(cString: strerror(errno)))
        }
        for (source, wanted) in zip(sources, descriptors) {
            posix_spawn_file_actions_adddup2(&actions, source, wanted.there)
        }
        var none = sigset_t(), all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var arguments: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) } + [nil]
        var environment: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { for text in arguments + environment { free(text) } }
        var child: pid_t = 0
        let failure = posix_spawn(&child, executable, &actions, &attributes, &arguments, &environment)
        guard failure == 0 else {
            throw SystemRefusal(what: "to start \(executable)", reason: String(cString: strerror(failure)))
        }
        id = child
        descriptor = dmsae_pidfd_open(child)
        if descriptor < 0 {
            let reason = String(cString: strerror(errno))
            kill(-child, SIGKILL)
            waitpid(child, nil, 0)
            throw SystemRefusal(what: "a descriptor of a process", reason: reason)
        }
    }

    deinit {
        if end == nil { terminate(grace: 0) }
        close(descriptor)
    }

    /// Becomes readable when the process has ended; for `poll` beside other descriptors.
    package var endDescriptor: Int32 { descriptor }

    /// How it ended, waiting for at most `milliseconds`; -1 waits for ever. nil: it still runs. When it has ended,
    /// so has its group.
    package func wait(milliseconds: Int32) -> End? {
        if let end { return end }
        var watched = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        while true {
            let ready = poll(&watched, 1, milliseconds)
            if ready > 0 { break }
            // A signal to us, as Ctrl-C, cuts the wait; who waits for ever asks again.
            if ready < 0 && errno == EINTR && milliseconds < 0 { continue }
            return nil
        }
        // What it started and left behind ends with it. Now, because its number is nobody else's until it is reaped.
        kill(-id, SIGKILL)
        var status: Int32 = 0
        guard waitpid(id, &status, 0) == id else { return nil }
        let signal = status & 0x7f
        end = signal == 0 ? .exited((status >> 8) & 0xff) : .killed(signal: signal)
        return end
    }

    /// Ends it and its whole group: SIGTERM, after `grace` milliseconds SIGKILL; returns how it ended.
    @discardableResult
    package func terminate(grace: Int32 = 2000) -> End? {
        if end == nil && grace > 0 {
            kill(-id, SIGTERM)
            _ = wait(milliseconds: grace)
        }
        if end == nil { kill(-id, SIGKILL) }
        return wait(milliseconds: -1)
    }
}
