import CLinux
import Synchronization

/// What the user of the running command can lower where memory ends in the middle of the work.
public enum ResourceAdvice {
    private static let current = Mutex(anyone)

    /// What helps whatever the command is.
    public static let anyone = "ask for less, or give this process more memory"

    /// Says it, at the start and once more when the command is known.
    public static func set(_ text: String) {
        current.withLock { $0 = text }
        dmsae_set_memory_message("Error: out of memory: \(MemoryLimit.standing) at the start; \(text)")
    }

    static var text: String { current.withLock { $0 } }
}
