import ArgumentParser
import Autointerp
import Glibc
import LinearAlgebra
import TensorFiles

/// The server that is asked, and how patiently.
struct EndpointOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Server with OpenAI's API for chats (llama.cpp, vLLM, …), as http://127.0.0.1:8080/v1.", valueName: "URL"))
    var endpoint: String
    @Option(help: ArgumentHelp("Model that explains, by the server's name.", valueName: "NAME"))
    var explainer: String
    @Option(help: ArgumentHelp("Model that tests explanations; default the one that explains.", valueName: "NAME"))
    var judge: String?
    @Option(
        help: ArgumentHelp(
            "Environment variable that holds the server's API key, where it wants one. The key itself is never written or printed.",
            valueName: "VARIABLE"))
    var apiKeyVariable: String?
    @Option(help: "Requests at a time.")
    var concurrency = 4
    @Option(help: "How often a request is sent again when the server is busy, slow or broken.")
    var retries = 6
    @Option(
        help: ArgumentHelp(
            "Wait before the second try; each further one is twice as long, up to a minute.", valueName: "SECONDS"))
    var retryWait = 1.0
    @Option(help: ArgumentHelp("Longest wait for one answer.", valueName: "SECONDS"))
    var timeout = 120.0
    @Option(help: "Temperature of both models.")
    var temperature = 0.0
    @Option(help: "Tokens of an answer at most.")
    var maxTokens = 500
    @Flag(
        help:
            "Have the server hold the judge to lists of 0 and 1 (a JSON schema, which llama.cpp and vLLM know): small models write something else."
    )
    var holdToLists = false

    func validate() throws {
        try require("--concurrency", concurrency, in: 1...256)
        try require("--retries", retries, in: 0...100)
        try require("--retry-wait", retryWait, in: 0...3600)
        try require("--timeout", timeout, in: 0.1...86400)
        try require("--temperature", temperature, in: 0...2)
        try require("--max-tokens", maxTokens, in: 1...(1 << 20))
        _ = try address(withKey: false)
    }

    /// Where to ask.
    ///
    /// - Throws: `ValidationError` for an address that is none; `ChatError.noKey`.
    func address(withKey: Bool = true) throws -> ChatEndpoint {
        let key = withKey ? apiKeyVariable.map { ($0, getenv($0).map { String(cString: $0) }) } : nil
        do {
            return try ChatEndpoint(endpoint, key: key)
        } catch let error as ChatError {
            guard case .badEndpoint = error else { throw error }
            throw ValidationError("\(error)")
        }
    }

    /// Questions to the server.
    ///
    /// - Throws: `ChatError`.
    func queue(seed: UInt64, notice: @escaping (String) -> Void) throws -> ChatQueue {
        let address = try address()
        if address.sendsKeyInTheOpen {
            Terminal.shared.warn("the key in \(apiKeyVariable ?? "") goes to \(endpoint) unencrypted; use https")
        }
        var patience = ChatQueue.Patience()
        (patience.concurrency, patience.retries, patience.wait) = (concurrency, retries, retryWait)
        return ChatQueue(
            address, try CurlTransfers(seconds: timeout), patience, seed: seed, now: monotonicSeconds, notice: notice)
    }
}

/// What is asked about each latent.
struct QuestionOptions: ParsableArguments {
    @Option(help: "Tokens of a context; divides --context.")
    var window = 32
    @Option(help: "Contexts that an explanation is written from.")
    var explainContexts = 40
    @Option(help: "Contexts in which the latent fires that it is tested on, and as many in which it does not.")
    var testContexts = 50
    @Option(
        help:
            "Contexts in which it fires are drawn from so many parts of equal size, from high activations to low ones.")
    var quantiles = 10
    @Option(help: "Contexts of one request to the judge.")
    var shown = 5
    @Option(
        help: ArgumentHelp(
            "Count activations below this share of a latent's largest as none. With 0, as Delphi has it, a latent that fires often has no "
                + "context without it.", valueName: "SHARE"))
    var floor = 0.0
    @Option(
        help: ArgumentHelp(
            "How explanations are tested; may be repeated. Default both.",
            valueName: ScoringMethod.allCases.map(\.rawValue).joined(separator: "|")))
    var method: [ScoringMethod] = []
    @Option(
        help: ArgumentHelp(
            "Where fuzzing marks wrongly: contexts in which the latent does not fire, or tokens of those in which it does.",
            valueName: FuzzingContrast.allCases.map(\.rawValue).joined(separator: "|")))
    var fuzzing: FuzzingContrast = .silent
    @Option(help: "Seed of all that is drawn.")
    var seed: UInt64 = 0

    func validate() throws {
        try require("--window", window, in: 2...(1 << 16))
        try require("--quantiles", quantiles, in: 1...1000)
        try require("--explain-contexts", explainContexts, in: 1...10_000)
        try require("--test-contexts", testContexts, in: 1...10_000)
        try require("--shown", shown, in: 1...1000)
        try require("--floor", floor, in: 0...0.99)
        for (name, count) in [("--explain-contexts", explainContexts), ("--test-contexts", testContexts)]
        where count % quantiles != 0 {
            throw ValidationError("\(name) is \(count), and --quantiles \(quantiles) does not divide it")
        }
        guard Set(method).count == method.count else { throw ValidationError("--method names one twice") }
    }

    /// As it is recorded and done.
    func settings(_ server: EndpointOptions) -> AutointerpSettings {
        var settings = AutointerpSettings(explainer: server.explainer, judge: server.judge ?? server.explainer)
        (settings.numbers.explain, settings.numbers.test) = (explainContexts, testContexts)
        (settings.numbers.quantiles, settings.numbers.window) = (quantiles, window)
        (settings.shown, settings.contrast, settings.seed) = (shown, fuzzing, seed)
        settings.methods = method.isEmpty ? ScoringMethod.allCases : ScoringMethod.allCases.filter(method.contains)
        (settings.temperature, settings.mostTokens) = (server.temperature, server.maxTokens)
        settings.holdsToLists = server.holdToLists
        return settings
    }
}

extension ScoringMethod: ExpressibleByArgument {}
extension FuzzingContrast: ExpressibleByArgument {}
