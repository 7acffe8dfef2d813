import TensorFiles
import Testing

@Suite struct PrintableTextTests {
    @Test(arguments: [
        ("a\u{1B}[2Jb", "a\\u{1B}[2Jb"), ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\u{7F}\u{9B}31m\u{85}", "\\u{7F}\\u{009B}31m\\u{0085}"),
        ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"), ("\u{0}\u{7}\u{8}", "\\0\\u{07}\\u{08}"),
        // What turns the direction of text, all of it.
        ("\u{61C}\u{200E}\u{200F}", "\\u{061C}\\u{200E}\\u{200F}"),
        ("\u{202A}\u{202B}\u{202C}\u{202D}\u{202E}", "\\u{202A}\\u{202B}\\u{202C}\\u{202D}\\u{202E}"),
        ("\u{2066}\u{2067}\u{2068}\u{2069}", "\\u{2066}\\u{2067}\\u{2068}\\u{2069}"),
        // What has no width, and tags.
        ("\u{200B}\u{2060}\u{FEFF}\u{AD}", "\\u{200B}\\u{2060}\\u{FEFF}\\u{00AD}"),
        ("\u{E0041}\u{E0001}\u{FFF9}\u{3164}", "\\u{000E0041}\\u{000E0001}\\u{FFF9}\\u{3164}"),
    ]) func whatAReaderWouldNotSeeIsWrittenOut(_ text: String, _ expected: String) {
        #expect(printable(text) == expected)
    }

    @Test(arguments: [
        "plain", "é 東京 Ω", "👩\u{200D}💻", "می\u{200C}خواهم", "❤\u{FE0F}", "\u{600}١", "e\u{301}", "\\u{1B}", "\u{E000}",
    ]) func ordinaryTextStaysAsItIs(_ text: String) {
        #expect(printable(text) == text)
        #expect(printableLines(text) == text)
        #expect(printableJSON(text) == text)
    }

    @Test func ofATextOfAMegabyteTheEndsAreLeft() {
        let text = "recipe key model is \"" + String(repeating: "\u{1B}", count: 1 << 20) + "\"; it must be a text"
        let shown = printable(text)
        #expect(shown.utf8.count < 20_000)
        #expect(shown.hasPrefix("recipe key model is \"\\u{1B}\\u{1B}"))
        #expect(shown.hasSuffix("\\u{1B}\\u{1B}\"; it must be a text"))
        #expect(shown.contains("… (\(text.unicodeScalars.count - 2000) characters) …"))
        #expect(shortened("ééé", most: 3) == "ééé" && shortened("abcdefghij", most: 6) == "abcd… (4 characters) …ij")
    }

    @Test func linesKeepTheirEndsAndNothingElse() {
        #expect(printableLines("a\n\tb\r\u{1B}c\u{2028}") == "a\n\tb\\r\\u{1B}c\\u{2028}")
    }

    @Test func recordsHoldTheSameTextAndNoControl() throws {
        let hostile = "\u{1B}[2J\u{7F}\u{9B}\u{202E}\u{2028}\u{E0041}\u{200B}"
        for pretty in [false, true] {
            let text = try JSONRecord.text([hostile: hostile], pretty: pretty)
            #expect(!text.unicodeScalars.contains { $0.deceives && $0 != "\n" }, "\(text.debugDescription)")
            #expect(try JSONValue(parsing: text)[hostile]?.string == hostile)
        }
    }
}

@Suite struct SystemAdviceTests {
    /// Each reason with what helps, and what would not.
    @Test func adviceBelongsToTheReason() {
        func reading(_ reason: String) -> String { TensorFileError.unreadable(file: "f", reason: reason).description }
        func writing(_ reason: String) -> String { TensorFileError.unwritable(file: "f", reason: reason).description }
        #expect(reading("No such file or directory") == "cannot read f: No such file or directory; check the path")
        #expect(
            reading("Permission denied")
                == "cannot read f: Permission denied; change the permissions, or run as somebody who may read it")
        #expect(
            reading("Too many open files")
                == "cannot read f: Too many open files; too many files are open: raise the limit (ulimit -n)")
        #expect(reading("it is empty") == "cannot read f: it is empty")
        #expect(
            writing("No such file or directory")
                == "cannot write f: No such file or directory; the folder it belongs in does not exist: make it first, or "
                + "choose another place")
        #expect(
            writing("No space left on device")
                == "cannot write f: No space left on device; make room on that disk, or choose another")
        #expect(
            writing("Read-only file system")
                == "cannot write f: Read-only file system; that file system cannot be written to: choose another place")
        #expect(
            writing("File too large, the limit on files is 0 bytes (ulimit -f)")
                == "cannot write f: File too large, the limit on files is 0 bytes (ulimit -f); the file is larger than allowed: "
                + "raise the limit (ulimit -f), or choose another file system")
        #expect(
            reading("Bad file descriptor")
                == "cannot read f: Bad file descriptor; it is closed or open for writing only: open it for reading")
        #expect(writing("it is a folder") == "cannot write f: it is a folder; choose another place")
    }
}
