import CLinux
import Distillation
import Glibc
import Synchronization

/// What each signal does, decided here once for every command.
///
/// | signal | what happens |
/// |---|---|
/// | SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU | a long command stops between two steps, says how to go on, and exits with 128 + the number (130 for Ctrl-C); a second one ends it at once. Other commands end at once, as by default |
/// | SIGQUIT | ends at once, with a core where ulimit -c allows one |
/// | SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT, real-time signals | end it at once, unless something loaded with the program has a handler for them |
/// | SIGPIPE | ignored: who closed our standard output wants no more of it; a long command says so once and goes on, another ends quietly with 141 |
/// | SIGXFSZ | ignored: the write fails, and is said like any other that did |
/// | SIGBUS | in a mapped file: a message that names it; see `MappedFile` |
/// | SIGABRT, SIGILL, SIGTRAP, SIGSEGV, SIGFPE | after a refused allocation a message; else a crash, as the Swift runtime reports it; sent by somebody, the end at once |
/// | SIGCHLD, and all that are not named | as by default, whatever the parent left |
///
/// Temporary files are removed in every case but SIGKILL. What was ignored when the program started stays ignored (nohup,
/// background jobs of a shell), except SIGTERM; nothing stays blocked. A plugin's process keeps none of this: it starts with
/// every signal as by default.
enum Interruption {
    /// Raised by the first signal that asks to stop.
    static let request = StopRequest()
    nonisolated(unsafe) private(set) static var advice = "interrupted"
    private static let number = Atomic<Int32>(SIGINT)
    private(set) nonisolated(unsafe) static var isInstalled = false

    /// The exit status of a command that stopped when asked: 128 and the signal.
    static var status: Int32 { 128 + number.load(ordering: .relaxed) }

    /// The first thing a program does.
    static func settleSignals() { dmsae_settle_signals() }

    /// What the user is told from now on when a signal stops the task.
    static func advise(_ text: String) { advice = text }

    /// From now on signals stop the task, and `advice` is what the user is told then.
    static func install(advice text: String) {
        advise(text)
        isInstalled = true
        // Made now: the handler only stores.
        number.store(SIGINT, ordering: .relaxed)
        _ = request.isRaised
        dmsae_stop_politely { signal in
            Interruption.number.store(signal, ordering: .relaxed)
            Interruption.request.raise()
        }
    }

    /// From now on the end of `parent`, which started this program, stops it as SIGTERM does. A parent that has already ended does so at
    /// once: another process is then this one's parent.
    static func end(with parent: pid_t) {
        let descriptor = dmsae_pidfd_open(parent)
        guard descriptor >= 0, getppid() == parent else {
            kill(getpid(), SIGTERM)
            return
        }
        parentEnd.store(descriptor, ordering: .relaxed)
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { _ in
                var watched = pollfd(
                    fd: Interruption.parentEnd.load(ordering: .relaxed), events: Int16(POLLIN), revents: 0)
                while poll(&watched, 1, -1) <= 0 {}
                kill(getpid(), SIGTERM)
                return nil
            }, nil)
        pthread_detach(thread)
    }

    /// Becomes readable when the parent has ended.
    private static let parentEnd = Atomic<Int32>(-1)
}
