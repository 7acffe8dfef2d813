import Distillation
import Glibc

/// Ctrl-C and a polite kill ask the task to stop between two steps; a second one ends the program at once.
enum Interruption {
    static let request = StopRequest()
    nonisolated(unsafe) private(set) static var advice = "interrupted"

    /// From now on signals stop the task, and `advice` is what the user is told then.
    static func install(advice text: String) {
        advice = text
        // A parent may have left them blocked: worker threads of its own often are.
        var signals = sigset_t()
        sigemptyset(&signals)
        for signal in [SIGINT, SIGTERM] { sigaddset(&signals, signal) }
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
        for signal in [SIGINT, SIGTERM] {
            Glibc.signal(signal) { number in
                Interruption.request.raise()
                Glibc.signal(number, SIG_DFL)
            }
        }
    }
}
