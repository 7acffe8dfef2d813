import CLinux
import Glibc

/// What the machine, or whoever set its limits, does not give: what for, how much, what to change.
public enum ResourceError: Error, Sendable, Equatable {
    /// More memory than this process may have.
    case memory(MemoryNeed, limit: MemoryLimit)
    /// A thread was refused.
    case thread(lane: Int, lanes: Int, reason: String)
    /// OpenBLAS could not be loaded.
    case noBLAS(reason: String)
    /// An environment variable with a value that it cannot have.
    case badVariable(name: String, value: String, wanted: String)

    /// Says it on standard error and ends the program with status 1: for the places that cannot throw, so that want of
    /// memory is a message there too. Files that are not whole yet are removed; what was saved stays.
    public func endProgram() -> Never { dmsae_end("Error: \(self)\n", 1) }
}

extension ResourceError: CustomStringConvertible {
    /// One sentence for the user.
    public var description: String {
        switch self {
        case .memory(let need, let limit): "\(need), and \(limit); \(need.advice)"
        case .thread(let lane, let lanes, let reason):
            "cannot start lane \(lane + 1) of \(lanes): \(reason); set DMSAE_LANES=\(lane), or let this user have more "
                + "processes (ulimit -u) or memory"
        case .noBLAS(let reason):
            "cannot load OpenBLAS: \(reason); install it (libopenblas0 in Debian), or lift the limit on memory if that is "
                + "what stands in the way"
        case .badVariable(let name, let value, let wanted):
            "the environment variable \(name) is \"\(value)\"; it must be \(wanted), or unset"
        }
    }
}
