import Glibc
import Synchronization

/// Runs code of a plugin and puts back what it may have changed of the process and should not: rounding and denormal
/// modes, and outside of workers the working folder and the mask of new files, on which the host's own files depend.
package func runningForeignCode<Result>(_ body: () throws -> Result) rethrows -> Result {
    let place = ProcessPlace.current
    defer { place?.restore() }
    return try keepingFloatingPointEnvironment(body)
}

/// The folder that relative paths begin in, and the mask of new files.
package struct ProcessPlace: Sendable {
    private let folder: Int32
    private let mask: mode_t

    /// Whether it is kept: not in a worker, where nothing of the host's is and what a plugin does must show.
    package static let isKept = Atomic(true)

    /// As it was before the first plugin ran; nil where it is not kept.
    static var current: ProcessPlace? { isKept.load(ordering: .relaxed) ? first : nil }

    private static let first: ProcessPlace = {
        let mask = umask(0o077)
        umask(mask)
        // O_PATH, which Swift does not see: the folder need not be readable.
        return ProcessPlace(folder: open(".", 0o10000000 | O_DIRECTORY | O_CLOEXEC), mask: mask)
    }()

    func restore() {
        if folder >= 0 { _ = fchdir(folder) }
        umask(mask)
    }
}
