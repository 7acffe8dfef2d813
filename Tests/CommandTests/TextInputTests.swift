import TensorFiles
import TestSupport
import Testing

/// Texts as people have them: with byte-order marks, bad lines, several documents.
@Suite struct TextInputTests {
    private let tiny: TinyModel
    private var folder: TemporaryFolder { tiny.folder }

    init() throws { tiny = try TinyModel() }

    private func ids(_ arguments: String...) throws -> [Int] {
        let text = try succeed(["lm", "tokenize", "--model", tiny.model, "--json"] + arguments)
        return try #require(try JSONValue(parsing: text)["input_ids"]?.array).compactMap(\.integer)
    }

    private func text(_ name: String, _ content: String) throws -> String {
        try AtomicFile.write(content, to: folder.file(name))
        return folder.file(name)
    }

    @Test func printedDocumentsAreJoinedAsTheModelSeesThem() throws {
        let one = try text("one.jsonl", "{\"text\": \"the cat\"}\n{\"text\": \"he ran\"}\n")
        let first = try ids("--text", try text("a.txt", "the cat"))
        let second = try ids("--text", try text("b.txt", "he ran"))
        #expect(try ids("--text", one) == first + [0] + second)
        #expect(try ids("--text", try text("c.txt", "the cat\n<|endoftext|>\nhe ran")) == first + [0] + second)
        let plain = try succeed(["lm", "tokenize", "--model", tiny.model, "--text", one])
        #expect(plain == (first + [0] + second).map(String.init).joined(separator: " ") + "\n")
        // The rows of --out are cut from the same.
        let out = folder.file("out")
        try succeed(
            [
                "lm", "tokenize", "--model", tiny.model, "--text", one, "--out", out, "--context", "\(first.count + 2)",
                "--rows", "1",
            ])
        #expect(
            try SafetensorsFile(path: out).integers("input_ids").map { Int($0) } == first + [0] + second.prefix(1))
    }

    /// The tiny model's tokenizer names `<|im_start|>` (1) for the beginning here, and adds it only where told to.
    @Test func specialTokensAndTheBeginningAreTokensWhereAskedFor() throws {
        let settings = tiny.model + "/tokenizer_config.json"
        let path = try text("a.txt", "the <|im_end|> cat")
        let plain = try ids("--text", path)
        #expect(!plain.contains(2))
        let (before, after) = (
            try ids("--text", try text("b.txt", "the ")), try ids("--text", try text("c.txt", " cat"))
        )
        #expect(try ids("--text", path, "--parse-special") == before + [2] + after)
        try fail(
            ["lm", "tokenize", "--model", tiny.model, "--text", path, "--bos", "yes"],
            saying: "tokenizer.json: the tokenizer names no beginning-of-sequence token; leave out --bos yes")
        for (adds, bos, begins) in [
            ("false", nil, false), ("true", nil, true), ("true", "no", false), ("false", "yes", true),
        ] as [(String, String?, Bool)] {
            try AtomicFile.write(
                #"{"eos_token": "<|endoftext|>", "bos_token": "<|im_start|>", "add_bos_token": \#(adds)}"#, to: settings
            )
            let option = bos.map { ["--bos", $0] } ?? []
            let printed = try succeed(["lm", "tokenize", "--model", tiny.model, "--text", path] + option)
            #expect(printed == ((begins ? [1] : []) + plain).map(String.init).joined(separator: " ") + "\n")
            let out = folder.file("out")
            try succeed(
                [
                    "lm", "tokenize", "--model", tiny.model, "--text", path, "--out", out, "--context", "3", "--rows",
                    "2",
                    "--parse-special",
                ] + option)
            let text = before + [2] + after
            let cut = begins ? 2 : 3
            let rows = stride(from: 0, to: 2 * cut, by: cut).flatMap { (begins ? [1] : []) + text[$0..<$0 + cut] }
            #expect(try SafetensorsFile(path: out).integers("input_ids").map { Int($0) } == rows)
        }
    }

    @Test func everyCommandThatReadsTextTakesTheBeginningAndSpecialTokens() throws {
        let said =
            "tokenizer.json: the tokenizer names no beginning-of-sequence token; leave out --bos yes (in a recipe bos: true)"
        let common = ["--model", tiny.model, "--text", tiny.text, "--context", "32", "--tokens", "256"]
        let harvest = ["harvest", "--layer", "1", "--keep-first", "0"] + common
        try fail(harvest + ["--out", folder.file("none"), "--bos", "yes"], saying: said)
        try tiny.writeRecipe(steps: 10, to: folder.file("r.yaml"))
        try fail(["distill", folder.file("r.yaml"), "--out", folder.file("run"), "--set", "bos=true"], saying: said)
        try AtomicFile.write(
            #"{"eos_token": "<|endoftext|>", "bos_token": "<|im_start|>"}"#, to: tiny.model + "/tokenizer_config.json")
        func tokens(_ options: [String]) throws -> JSONValue? {
            let out = folder.file("store" + options.joined())
            try succeed(harvest + ["--out", out, "--quiet"] + options)
            let record = try JSONValue(contentsOf: out + "/store.json")
            #expect(record["settings"]?["bos"]?.string == (options.isEmpty ? nil : "yes"))
            #expect(record["settings"]?["parse_special"]?.string == (options.isEmpty ? nil : "true"))
            return record["rows"]
        }
        // A special token at the beginning and those of the text keep the model's own activation.
        #expect(try tokens([]) != (try tokens(["--bos", "yes", "--parse-special"])))
    }

    @Test func aByteOrderMarkIsNoText() throws {
        let expected = try ids("--text", try text("a.txt", "the cat"))
        #expect(try ids("--text", try text("b.txt", "\u{FEFF}the cat")) == expected)
        #expect(try ids("--text", try text("b.jsonl", "\u{FEFF}{\"text\": \"the cat\"}\r\n")) == expected)
        try AtomicFile.write([0xFF, 0xFE, 0x61, 0x00, 0x62, 0x00], to: folder.file("wide.txt"))
        try fail(
            ["lm", "tokenize", "--model", tiny.model, "--text", folder.file("wide.txt")],
            saying: "wide.txt: it is UTF-16 (little-endian) text, not UTF-8")
    }

    /// Its bytes would become tokens that stand for no character.
    @Test func textInAnotherEncodingIsRefusedWithItsPlace() throws {
        let path = folder.file("latin.txt")
        // Far down, and cut at the end.
        let lines = Array(String(repeating: "the cat ran\n", count: 100_000).utf8)
        for (bytes, offset) in [
            (Array("caf".utf8) + [0xE9] + Array(" noir".utf8), 3), (lines + [0xE9, 0x0A], lines.count),
            (Array("\u{FEFF}ab".utf8) + [0xE2, 0x82], 5), (lines + [0xF0, 0x9F], lines.count), ([0xC0, 0xAF], 0),
            ([0x61, 0xED, 0xA0, 0x80], 1),
        ] {
            try AtomicFile.write(bytes, to: path)
            try fail(
                ["lm", "tokenize", "--model", tiny.model, "--text", path],
                saying:
                    "\(path): not UTF-8 at byte \(offset); convert it, as with iconv -f LATIN1 -t UTF-8, or give other text"
            )
        }
        try AtomicFile.write([0x61, 0xE9], to: path)
        let piped = try run(
            "/bin/bash", ["-c", "\"$@\" < \(path)", "bash", builtProgram, "lm", "tokenize", "--model", tiny.model])
        #expect(piped.status == 1 && piped.errors.hasPrefix("Error: standard input: not UTF-8 at byte 1; "))
        // Characters that a read cuts are whole again.
        let wide = String(repeating: "a€😀é", count: 300_000)
        try AtomicFile.write(wide, to: path)
        #expect(try ids("--text", path).count > 1_000_000)
    }

    @Test(arguments: [
        ("{\"text\": \"b\", \"score\": NaN}", "not JSON: the number NaN, which JSON does not have, at byte 23"),
        ("{\"text\": \"\\ud83d\"}", "not JSON: half of a surrogate pair, which is no character, at byte 16"),
        ("{\"text\": \"b\"", "not JSON: neither a comma nor a closing brace at byte 12"),
        ("{\"text\": 3}", "the member \"text\" is not a text"), ("[\"b\"]", "it is a list, not an object"),
    ]) func aBadLineIsNamedWithItsCauseOrCountedAndPassedOver(_ line: String, _ cause: String) throws {
        let path = try text("bad.jsonl", "{\"text\": \"the cat\"}\n\(line)\n{\"text\": \"he ran\"}\n\(line)\n")
        let tokenize = ["lm", "tokenize", "--model", tiny.model, "--text", path]
        try fail(
            tokenize,
            saying:
                "\(path), line 2: \(cause); correct it (every line must be an object like {\"text\": \"…\"}), or pass over such "
                + "lines with --skip-bad-lines (in a recipe skip_bad_lines: true)")
        let result = try run(builtProgram, tokenize + ["--skip-bad-lines", "--json"])
        #expect(result.status == 0)
        #expect(result.errors.hasPrefix("warning: 2 bad lines were passed over, the first: \(path), line 2: \(cause)"))
        #expect(!result.errors.contains("--skip-bad-lines"))
        let good = try text("good.jsonl", "{\"text\": \"the cat\"}\n{\"text\": \"he ran\"}\n")
        #expect(
            try JSONValue(parsing: result.output)["input_ids"]?.array?.compactMap(\.integer)
                == (try ids("--text", good)))
    }

    @Test func everyCommandThatReadsTextCanPassOverBadLines() throws {
        let golden = try Golden("gxa/gxa.safetensors")
        try writeSAE(golden, threshold: Float(try golden.number("threshold")), layer: 1, to: folder.file("sae"))
        let path = try text("bad.jsonl", "NaN\n" + String(decoding: contents(of: tiny.text), as: UTF8.self))
        let common = ["--model", tiny.model, "--text", path, "--context", "32", "--tokens", "256"]
        try tiny.writeRecipe(steps: 10, to: folder.file("r.yaml"))
        for arguments in [
            ["harvest", "--layer", "1", "--out", folder.file("store")] + common,
            ["eval", "--sae", folder.file("sae")] + common, ["latents", "--sae", folder.file("sae")] + common,
        ] {
            try fail(arguments, saying: "\(path), line 1: not JSON: the number NaN")
            let result = try run(builtProgram, arguments + ["--quiet", "--skip-bad-lines"])
            #expect(result.status == 0, "\(arguments): \(result.errors)")
            #expect(
                result.errors.hasPrefix(
                    "warning: 1 bad line was passed over, the first: \(path), line 1: not JSON: the number NaN"),
                "\(arguments): \(result.errors)")
        }
        let distill = [
            "distill", folder.file("r.yaml"), "--out", folder.file("run"), "--set", "text=\(path)", "--quiet",
        ]
        try fail(distill, saying: "\(path), line 1: not JSON: the number NaN")
        let result = try run(
            builtProgram, distill + ["--out", folder.file("run2"), "--set", "skip_bad_lines=true"])
        // Read once for the harvest, again for every cycle: counted once.
        #expect(result.status == 0 && result.errors.contains("warning: 1 bad line was passed over"), "\(result.errors)")
    }

    @Test func optionsThatWouldHaveNoSayAreRefused() throws {
        let tokenize = ["lm", "tokenize", "--model", tiny.model, "--text", tiny.text]
        for option in ["--rows", "--context", "--skip"] {
            try fail(
                tokenize + [option, "5"], status: 64,
                saying: "\(option) is about the rows of --out; without it all ids are printed")
        }
        for rows in ["4611686018427387904", "9223372036854775807", "0"] {
            try fail(
                tokenize + ["--out", folder.file("out"), "--rows", rows], status: 64,
                saying: "--rows is \(rows); it must be at")
        }
        #expect(!isThere(folder.file("out")))
    }

    @Test(arguments: [
        ("# nothing\n", "it is empty"), ("---\n", "it is empty"), ("\u{FEFF}\n", "it is empty"),
        ("seed: 1\n---\nseed: 2\n", "it holds 2 documents, divided by \"---\", instead of one"),
        ("train: {k: 3}\ntrain.k: 4\n", "\"train.k\" is there twice"),
        ("seed: 1\nseed: 2\n", "line 1: \"seed\" is there twice"),
        ("seed: 1\ntrain: [\n", "line 3, column 1: while parsing a flow"),
    ]) func recipesThatAreNoneAreRefusedWithTheCause(_ yaml: String, _ cause: String) throws {
        try fail(["distill", try text("r.yaml", yaml), "--out", folder.file("run")], saying: "r.yaml: \(cause)")
        #expect(!isThere(folder.file("run")))
    }

    @Test func recipesWithAByteOrderMarkAndWindowsLineEndsAreRead() throws {
        try tiny.writeRecipe(to: folder.file("a.yaml"))
        let plain = String(decoding: contents(of: folder.file("a.yaml")), as: UTF8.self)
        let other = try text("b.yaml", "\u{FEFF}" + plain.replacing("\n", with: "\r\n"))
        #expect(
            try succeed(["distill", other, "--print-recipe"])
                == (try succeed(["distill", folder.file("a.yaml"), "--print-recipe"])))
    }

    @Test func aRecipeThatIsNotUTF8IsRefusedByItsLine() throws {
        try AtomicFile.write(Array("seed: 1\nmodel: ".utf8) + [0xE9, 0x0A], to: folder.file("r.yaml"))
        try fail(["distill", folder.file("r.yaml")], saying: "r.yaml: line 2 is not UTF-8")
    }
}
