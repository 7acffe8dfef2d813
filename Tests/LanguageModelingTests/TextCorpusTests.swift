import LanguageModeling
import TensorFiles
import TestSupport
import Testing

/// Every document of a corpus, pieces joined.
private func documents(_ path: String) throws -> [String] {
    var pieces = try TextCorpus(path: path).pieces()
    var result: [String] = []
    var current: [UInt8] = []
    while let piece = try pieces.next() {
        current += piece.bytes
        if piece.endsDocument {
            result.append(String(decoding: current, as: UTF8.self))
            current = []
        }
    }
    #expect(current.isEmpty)
    return result
}

private func complaint(_ path: String) -> String {
    do {
        _ = try documents(path)
        return "read"
    } catch { return "\(error)" }
}

@Suite struct TextCorpusTests {
    let folder = TemporaryFolder()

    @Test func linesOfJSONAreDocuments() throws {
        let path = folder.file("a.jsonl")
        try AtomicFile.write("{\"id\": 1, \"text\": \"one\\ntwo\"}\n\n{\"text\":\"\"}\r\n{\"text\": \"é 😀\"}", to: path)
        #expect(try documents(path) == ["one\ntwo", "é 😀"])
    }

    @Test func separatorLinesEndDocumentsOfPlainText() throws {
        let path = folder.file("a.txt")
        try AtomicFile.write(
            "one\ntwo\n<|endoftext|>\n<|endoftext|>\nthree <|endoftext|>\n\nfour\n<|endoftext|>\n", to: path)
        #expect(try documents(path) == ["one\ntwo", "three <|endoftext|>\n\nfour"])
    }

    @Test func aFolderIsItsFilesInOrderOfName() throws {
        try AtomicFile.write("b", to: folder.file("2.txt"))
        try AtomicFile.write(#"{"text": "a"}"#, to: folder.file("1.jsonl"))
        try AtomicFile.write("not text", to: folder.file("NOTICE"))
        #expect(try documents(folder.path) == ["a", "b"])
    }

    @Test func aLongDocumentComesInPiecesAndWhole() throws {
        let path = folder.file("long.txt")
        let text = (0..<400_000).map { "word\($0 % 7 == 0 ? "\n" : " ")\($0)" }.joined(separator: " no ")
        try AtomicFile.write(text + "\n<|endoftext|>\nshort", to: path)
        #expect(try documents(path) == [text, "short"])
        var pieces = try TextCorpus(path: path).pieces()
        var longest = 0
        while let piece = try pieces.next() { longest = max(longest, piece.bytes.count) }
        // The last line may pass the limit by its own length.
        #expect(longest < TextPieces.longestPiece + 1000)
    }

    @Test func aSafeCutChangesNoToken() throws {
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        let reference = try JSONValue(contentsOf: fixture("tokenizer/ids.json"))
        let texts = try #require(reference["texts"]?.array).compactMap(\.string)
        let joints = [
            "a b", "x\ny", "!\n?", "é\nЖ", "東\n日", ".\n\"", "1\n2", "a \nb", "a\n b", "東\n\u{3000}b", "s\n's",
        ]
        var cuts = 0
        for (index, joint) in (joints + joints + joints).enumerated() {
            let bytes = Array((texts[index] + joint + texts[index + 50]).utf8)
            for end in 2...bytes.count {
                guard let cut = TextPieces.lastSafeCut(Array(bytes[..<end])) else { continue }
                cuts += 1
                let parts =
                    tokenizer.encode(bytes: Array(bytes[..<cut])) + tokenizer.encode(bytes: Array(bytes[cut...]))
                #expect(parts == tokenizer.encode(bytes: bytes), "\(joint) at \(cut)")
            }
        }
        #expect(cuts > 100)
    }

    @Test func aBadLineIsNamedWithItsNumber() throws {
        let path = folder.file("a.jsonl")
        let advice =
            "correct it (every line must be an object like {\"text\": \"…\"}), or pass over such lines with --skip-bad-lines "
            + "(in a recipe skip_bad_lines: true)"
        for (line, what) in [
            ("{\"text\": \"cut", "not JSON: the end of the text inside a string at byte 13"),
            ("[1]", "it is a list, not an object"),
            ("{\"id\": \"x\"}", "there is no member \"text\" (--text-key, in a recipe text_key, names another)"),
            ("{\"text\": 5}", "the member \"text\" is not a text"),
        ] {
            try AtomicFile.write("{\"text\": \"fine\"}\n\n\(line)\n", to: path)
            #expect(complaint(path) == "\(path), line 3: \(what); \(advice)")
        }
    }

    @Test func badLinesArePassedOverAndCountedOnce() throws {
        let path = folder.file("a.jsonl")
        try AtomicFile.write("{\"text\": \"a\"}\nNaN\n{}\n{\"text\": \"b\"}\n", to: path)
        let corpus = try TextCorpus(path: path, skipsBadLines: true)
        for _ in 0..<2 {
            var (pieces, found) = (corpus.pieces(), [String]())
            while let piece = try pieces.next() { found.append(String(decoding: piece.bytes, as: UTF8.self)) }
            #expect(found == ["a", "b"])
            #expect(corpus.skippedLines.count == 2)
            #expect(
                corpus.skippedLines.first
                    == .malformedLine(
                        file: path, line: 2, what: "not JSON: the number NaN, which JSON does not have, at byte 0"))
        }
        try AtomicFile.write("NaN\n", to: path)
        #expect(throws: TextError.empty(path: path)) {
            var pieces = try TextCorpus(path: path, skipsBadLines: true).pieces()
            _ = try pieces.next()
        }
    }

    @Test func aByteOrderMarkBeforeAFileIsNoText() throws {
        for (name, content) in [("a.txt", "\u{FEFF}one\u{FEFF}"), ("a.jsonl", "\u{FEFF}{\"text\": \"one\u{FEFF}\"}")] {
            try AtomicFile.write(content, to: folder.file(name))
            #expect(try documents(folder.file(name)) == ["one\u{FEFF}"])
        }
    }

    @Test func aLineLongerThanThePiecesOfAFileIsOneDocument() throws {
        let path = folder.file("long.txt")
        // Longer than what is read at a time, with a return just where one reading ends, and no place to cut.
        let line = String(repeating: "x", count: (1 << 20) - 1) + "\r" + String(repeating: "y", count: 3 << 20)
        for end in ["", "\n", "\r\n"] {
            try AtomicFile.write("short\r\n<|endoftext|>\r\n\(line)\(end)", to: path)
            #expect(try documents(path) == ["short", line], "\(end.debugDescription)")
        }
        try AtomicFile.write("\(line)\n<|endoftext|>\nnext", to: path)
        #expect(try documents(path) == [line, "next"])
    }

    @Test func aFileThatMayNotBeReadSaysSo() throws {
        let path = folder.file("a.txt")
        try AtomicFile.write("text", to: path)
        #expect(
            TextError.unreadable(path: path, reason: "Permission denied").description
                == "cannot read \(path): Permission denied; change the permissions, or run as somebody who may read it")
    }

    @Test func whatIsMissingOrEmptyIsNamed() throws {
        let advice = "give a .jsonl file, a .txt file, files of token ids, or a folder of them"
        #expect(complaint("/nowhere.txt") == "cannot read /nowhere.txt: No such file or directory; \(advice)")
        #expect(
            complaint(folder.path)
                == "cannot read \(folder.path): no .jsonl or .txt file is in it, and no file of token ids; \(advice)")
        let path = folder.file("a.pdf")
        try AtomicFile.write("", to: path)
        #expect(
            complaint(path)
                == "cannot read \(path): its name ends in neither .jsonl nor .txt (packed: .gz, .zst), .npy, .bin or .safetensors; \(advice)"
        )
        let empty = folder.file("a.txt")
        for text in ["", "\n", "<|endoftext|>\n\n<|endoftext|>"] {
            try AtomicFile.write(text, to: empty)
            #expect(complaint(empty) == "\(empty) holds no text; give a file with at least one document")
        }
    }
}

@Suite struct TokenDatasetTests {
    let folder = TemporaryFolder()

    private func dataset(_ text: String, length: Int, skip: Int = 0, limit: Int? = nil) throws -> TokenDataset {
        let path = folder.file("a.txt")
        try AtomicFile.write(text, to: path)
        return try TokenDataset(
            corpus: TextCorpus(path: path), tokenizer: .load(path: fixture("tokenizer")), length: length, skip: skip,
            limit: limit)
    }

    private func all(_ dataset: TokenDataset, _ sequences: Int) throws -> (ids: [Int32], counts: [Int]) {
        var result: (ids: [Int32], counts: [Int]) = ([], [])
        while let batch = try dataset.nextBatch(sequences: sequences) {
            result.ids += batch.ids
            result.counts.append(batch.sequenceCount)
        }
        return result
    }

    private let text = (0..<3000).map { "Document \($0) is here." }.joined(separator: "\n<|endoftext|>\n")

    /// What the rows must be cut from.
    private func packed() throws -> [Int32] {
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        return Array((0..<3000).map { tokenizer.encode("Document \($0) is here.") }.joined(separator: [0]))
    }

    @Test func documentsAreJoinedByTheEndOfTextAndCutIntoRows() throws {
        let tokens = try packed()
        for (length, sequences) in [(1, 7), (16, 1), (64, 5), (100, 100_000)] {
            let result = try all(dataset(text, length: length), sequences)
            let rows = tokens.count / length
            #expect(result.ids == Array(tokens.prefix(rows * length)))
            #expect(result.counts.dropLast().allSatisfy { $0 == sequences })
            #expect(result.counts.reduce(0, +) == rows)
        }
    }

    @Test func partsChosenBySkipAndLimitAreDisjointAndAdjacent() throws {
        let tokens = try packed()
        let first = try all(dataset(text, length: 10, limit: 1005), 8)
        let second = try all(dataset(text, length: 10, skip: 1005, limit: 20), 8)
        #expect(first.ids == Array(tokens.prefix(1000)))
        #expect(second.ids == Array(tokens[1005..<1025]))
    }

    @Test func aDocumentInPiecesHasTheTokensOfTheWhole() throws {
        let long = (0..<200_000).map { "word \($0)" }.joined(separator: " and\nthen ")
        let expected = try Tokenizer.load(path: fixture("tokenizer")).encode(long)
        #expect(try all(dataset(long, length: 1), 100_000).ids == expected)
    }

    @Test func aTextShorterThanOneRowIsRefusedWithTheCounts() throws {
        let short = try dataset("Document 1", length: 64)
        let count = try Tokenizer.load(path: fixture("tokenizer")).encode("Document 1").count
        let path = folder.file("a.txt")
        #expect(
            throws: TextError.tooShort(path: path, tokenCount: count, skipped: 0, limit: nil, length: 64)
        ) { try short.nextBatch(sequences: 2) }
        let tokens = try packed().count
        let skipped = try dataset(text, length: 64, skip: tokens - 10, limit: 100)
        let error = TextError.tooShort(path: path, tokenCount: tokens, skipped: tokens - 10, limit: 100, length: 64)
        #expect(throws: error) { try skipped.nextBatch(sequences: 1) }
        #expect(
            error.description == "\(path) gives \(tokens) tokens, \(tokens - 10) are to be skipped, at most 100 are to "
                + "be used: not one row of 64; use more text or a shorter context")
        let limited = try dataset(text, length: 64, limit: 63)
        #expect(
            throws: TextError.tooShort(path: path, tokenCount: nil, skipped: 0, limit: 63, length: 64)
        ) { try limited.nextBatch(sequences: 1) }
    }

    @Test func aTokenizerWithoutAnEndOfTextIsRefused() throws {
        let text = String(decoding: contents(of: fixture("tokenizer/tokenizer.json")), as: UTF8.self)
        let renamed = text.split(separator: "<|endoftext|>", omittingEmptySubsequences: false).joined(separator: "<x>")
        try AtomicFile.write(renamed, to: folder.file("tokenizer.json"))
        try AtomicFile.write("text", to: folder.file("a.txt"))
        let file = folder.file("tokenizer.json")
        #expect(throws: TextError.noEndOfText(file: file)) {
            try TokenDataset(
                corpus: TextCorpus(path: folder.file("a.txt")), tokenizer: .load(path: folder.path), length: 4)
        }
    }
}
