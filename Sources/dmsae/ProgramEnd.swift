import Glibc
import Synchronization

/// How the program ends once its work is done or has failed.
enum ProgramEnd {
    private static let isAtOnce = Atomic(false)

    /// From now on it ends without what libraries want to do at its end: a plugin in this process could wait there for ever, with
    /// every signal that would stop it taken for a wish to stop politely, or abort after its results were written.
    static func leaveLibrariesAlone() { isAtOnce.store(true, ordering: .relaxed) }

    /// Ends the program; what was printed goes out first.
    static func end(_ status: Int32) -> Never {
        RankJob.leave(status)
        guard isAtOnce.load(ordering: .relaxed) else { exit(status) }
        fflush(nil)
        _exit(status)
    }
}
