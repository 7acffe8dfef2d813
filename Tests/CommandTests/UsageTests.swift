import TestSupport
import Testing

/// The front of the program: help with an example everywhere, and 64 for what the parser refuses.
@Suite struct UsageTests {
    private static let commands = [
        "distill", "harvest", "train", "score", "select", "eval", "eval splice", "eval core", "eval probes",
        "eval absorption", "eval meta", "export saebench",
        "eval synthetic", "synthetic", "encode", "decode", "lm trace", "lm tokenize",
        "fetch", "compare", "latents", "autointerp", "serve", "report",
    ]

    @Test(arguments: commands) func helpShowsAnExampleAndBadOptionsAreUsageErrors(_ command: String) throws {
        let words = command.split(separator: " ").map(String.init)
        let help = try succeed(words + ["--help"])
        // Help is wrapped to the terminal's width.
        let text = help.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        #expect(text.contains("Example: ") && text.contains("dmsae \(command) "), "\(help)")
        try fail(words + ["--no-such-option"], status: 64, saying: "Error: ", "Usage: dmsae \(command)")
        if !["fetch", "plugin list", "synthetic"].contains(command) {
            try fail(words, status: 64, saying: "Missing expected argument")
        }
    }

    @Test func theProgramItself() throws {
        try fail(["--no-such-option"], status: 64, saying: "Unknown option '--no-such-option'")
        try fail(["distil"], status: 64, saying: "Unexpected argument 'distil'")
        let version = try succeed(["--version"])
        #expect(version.split(separator: ".").count == 3, "\(version)")
        let help = try succeed([])
        for command in Self.commands { #expect(help.contains(command.split(separator: " ")[0]), "\(command)") }
    }

    @Test func itStartsInWellUnderASecond() throws {
        // The best of five, against a machine that is busy with other things.
        let clock = ContinuousClock()
        let best = try (0..<5).map { _ in try clock.measure { try succeed(["--version"]) } }.min()
        #expect((best ?? .seconds(9)) < .milliseconds(500))
    }
}
