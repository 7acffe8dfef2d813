import TensorFiles

/// The system refused what running a plugin takes: memory, descriptors, processes.
public struct SystemRefusal: Error, Equatable, Codable, Sendable, CustomStringConvertible {
    /// What, as in "the system refused a socket".
    public let what: String
    /// Why, in the system's words.
    public let reason: String

    /// A refusal with the system's reason.
    public init(what: String, reason: String) {
        self.what = what
        self.reason = reason
    }

    /// The sentence that users see.
    public var description: String {
        printable("the system refused \(what), which a plugin needs: \(reason); \(advice)")
    }

    /// What helps, by the system's reason.
    private var advice: String {
        if reason.hasPrefix("Too many open files") { return "raise the limit on open files (ulimit -n)" }
        if reason.hasPrefix("File too large") {
            return "raise the limit on the size of files (ulimit -f), which counts for memory that processes share"
        }
        if reason.hasPrefix("Resource temporarily unavailable") { return "raise the limit on processes (ulimit -u)" }
        return "free some, or raise the limit (`ulimit -a`, --plugin-memory)"
    }
}
