import LanguageModeling
import TensorFiles
import TestSupport
import Testing

/// Files of `Fixtures/corpus`, which gzip, zstd, NumPy and safetensors wrote.
private func corpus(_ name: String) -> String { fixture("corpus/" + name) }

@Suite struct CorpusTests {
    private let folder = TemporaryFolder()

    private func documents(_ paths: [String], key: String = "text") throws -> [String] {
        var reading = CorpusReading()
        reading.textKey = key
        guard case .text(let text) = try Corpus(paths, reading) else {
            Issue.record("\(paths) are no text")
            return []
        }
        var (pieces, result) = (text.pieces(), [String]())
        while let piece = try pieces.next() {
            if piece.beginsDocument { result.append("") }
            result[result.count - 1] += String(decoding: piece.bytes, as: UTF8.self)
        }
        return result
    }

    private func complaint(_ paths: [String], key: String = "text") -> String {
        do {
            return "read \(try documents(paths, key: key))"
        } catch { return "\(error)" }
    }

    @Test func packedTextIsTheTextInIt() throws {
        let texts = (0..<4).map { "document \($0) is here" }
        #expect(try documents([corpus("members.jsonl.gz")]) == texts)
        #expect(try documents([corpus("frames.jsonl.zst")]) == texts)
        let long = (0..<120_000).map { "line \($0 % 1000) of a long text\n" }.joined().dropLast()
        #expect(try documents([corpus("long.txt.gz")]) == [String(long)])
        #expect(try documents([corpus("long.txt.zst")]) == [String(long)])
    }

    @Test func theKeyChoosesTheMember() throws {
        #expect(try documents([corpus("members.jsonl.gz")], key: "body") == (0..<4).map { "another text \($0)" })
        let path = corpus("members.jsonl.gz")
        #expect(
            complaint([path], key: "title").hasPrefix("\(path), line 1: there is no member \"title\" (--text-key, "))
        #expect(complaint([path], key: "id").hasPrefix("\(path), line 1: the member \"id\" is not a text; "))
    }

    @Test func severalPlacesAreReadInTheOrderGiven() throws {
        try createFolder(folder.file("d"))
        try AtomicFile.write(contents(of: corpus("frames.jsonl.zst")), to: folder.file("d/2.jsonl.zst"))
        try AtomicFile.write("first", to: folder.file("d/1.txt"))
        try AtomicFile.write("last", to: folder.file("a.txt"))
        let four = (0..<4).map { "document \($0) is here" }
        #expect(try documents([folder.file("d"), folder.file("a.txt")]) == ["first"] + four + ["last"])
        #expect(try documents([folder.file("a.txt"), folder.file("d")]) == ["last", "first"] + four)
    }

    @Test func whatWouldBeReadTwiceIsRefused() throws {
        try AtomicFile.write("a", to: folder.file("a.txt"))
        try AtomicFile.write(contents(of: corpus("long.txt.gz")), to: folder.file("a.txt.gz"))
        let advice = "give a .jsonl file, a .txt file, files of token ids, or a folder of them"
        #expect(
            complaint([folder.path])
                == "cannot read \(folder.path): a.txt and a.txt.gz are one text, and would be read twice; \(advice)")
        let path = folder.file("a.txt")
        #expect(complaint([path, path]) == "cannot read \(path): it is given twice; \(advice)")
        #expect(
            complaint([path, corpus("ids.npy")])
                == "cannot read \(path), \(corpus("ids.npy")): text and token ids are not one corpus; \(advice)")
    }

    @Test func parquetIsRefusedWithALineThatConvertsIt() throws {
        let path = folder.file("a.parquet")
        try AtomicFile.write("PAR1", to: path)
        #expect(
            complaint([path]).hasPrefix(
                "cannot read \(path): Parquet is not read; convert it: python3 -c \"import pandas; "
                    + "pandas.read_parquet('\(path)').to_json('\(folder.file("a.jsonl"))', orient='records', lines=True)\""
            ))
    }
}

/// What `make.py` wrote: a thousand ids, every 97th the end of a text.
private let ids: [Int32] = (0..<1000).map { $0 % 97 == 96 ? 0 : ($0 * 7 + 3) % 300 }
private let counts = [32, 20, 1, 32, 7]

@Suite struct TokenFilesTests {
    private let folder = TemporaryFolder()

    /// All rows of a corpus.
    private func rows(
        _ names: [String], vocabulary: Int = 300, width: TokenWidth? = nil,
        sequences: Int = 3, _ cut: TokenDataset.Cut
    ) throws -> [TokenBatch] {
        var reading = CorpusReading()
        reading.tokenWidth = width
        let data = try TokenDataset(
            try Corpus(names.map { $0.contains("/") ? $0 : corpus($0) }, reading), nil,
            vocabularySize: vocabulary, cut)
        var result: [TokenBatch] = []
        while let batch = try data.nextBatch(sequences: sequences) { result.append(batch) }
        #expect(data.deliveredTokenCount == result.reduce(0) { $0 + $1.tokenCount })
        return result
    }

    private func complaint(
        _ names: [String], vocabulary: Int = 300, width: TokenWidth? = nil,
        _ change: (inout TokenDataset.Cut) -> Void = { _ in }
    ) -> String {
        var cut = TokenDataset.Cut(length: 32)
        change(&cut)
        do {
            return "read \(try rows(names, vocabulary: vocabulary, width: width, cut).count) batches"
        } catch { return "\(error)" }
    }

    @Test(
        arguments: [
            ("ids.npy", nil), ("ids_i64.npy", nil), ("ids.bin", .u16), ("ids32.bin", .u32), ("stream.safetensors", nil),
        ] as [(String, TokenWidth?)]) func aStreamIsCutAsTextWouldBe(_ name: String, _ width: TokenWidth?) throws
    {
        var cut = TokenDataset.Cut(length: 30)
        #expect(try rows([name], width: width, cut).flatMap(\.ids) == Array(ids[..<990]))
        (cut.skip, cut.limit) = (45, 60)
        #expect(try rows([name], width: width, cut).flatMap(\.ids) == Array(ids[45..<105]))
        // One stream in two files has no seam.
        (cut.skip, cut.limit) = (990, nil)
        let other = name == "ids.npy" ? "ids_i64.npy" : "ids.npy"
        #expect(try rows([name, other], width: width, cut).flatMap(\.ids).prefix(30) == ids[990...] + ids[..<20])
    }

    @Test(arguments: ["rows.npy", "rows_u32.npy", "rows.safetensors"])
    func rowsAreTakenAsTheyAre(_ name: String) throws {
        let cut = TokenDataset.Cut(length: 32)
        let found = try rows([name], cut)
        #expect(found.map(\.sequenceCount) == [3, 2])
        #expect(found.flatMap(\.ids) == Array(ids[..<160]))
        var later = cut
        (later.skip, later.limit) = (64, 64)
        #expect(try rows([name], later).flatMap(\.ids) == Array(ids[64..<128]))
    }

    @Test func paddingIsNoToken() throws {
        let found = try rows(["padded.safetensors"], sequences: 5, TokenDataset.Cut(length: 32))
        #expect(found.map(\.counts) == [counts])
        #expect(found[0].paddingCount == 160 - counts.reduce(0, +))
        let wanted: [Int32] = (0..<160).map { $0 % 32 < counts[$0 / 32] - 1 ? ids[$0 + 1] : -1 }
        #expect(found[0].targets == wanted)
        #expect(found[0].sequences(1..<3).counts == [20, 1])
        #expect(found[0].windows(of: 16).counts == [16, 16, 16, 4, 1, 16, 16, 7])
    }

    @Test func whatIsNoListOfIdsIsRefused() throws {
        let at = "check that ids and model belong together, and how wide the numbers are"
        for (names, message) in [
            (["fortran.npy"], "it is in Fortran order; save it as numpy.save(path, numpy.ascontiguousarray(x))"),
            (["big_endian.npy"], "array \"big_endian.npy\" is of type >i4; save it as little-endian floats"),
            (["floats.npy"], "tensor \"floats.npy\" is F32, wanted whole numbers"),
            (["objects.npy"], "array \"objects.npy\" is of type |O"),
            (["ids.bin"], "a .bin file does not say how wide its token ids are; give --token-type u16 or u32"),
            (["left_padded.safetensors"], "attention_mask of row 1 is not ones and then zeros; pad rows behind"),
            (["rows.npy", "ids.npy"], "its shape [1000] does not go with [5, 32] of \(corpus("rows.npy"))"),
        ] { #expect(complaint(names).hasPrefix("\(corpus(names.last!)): \(message)"), "\(complaint(names))") }
        #expect(
            complaint(["ids.npy"], vocabulary: 297)
                == "\(corpus("ids.npy")): token id 297 at position 42 is not in the vocabulary of 297 tokens; \(at)")
        #expect(
            complaint(["ids.bin"], width: .u32).hasPrefix("\(corpus("ids.bin")): token id 655363 at position 0 is not"))
        try AtomicFile.write([1, 0, 2], to: folder.file("odd.bin"))
        #expect(
            complaint([folder.file("odd.bin")], width: .u16)
                == "\(folder.file("odd.bin")): it has 3 bytes, no whole number of U16; check how wide its numbers are")
    }

    @Test func rowsOfAnotherLengthAndSettingsThatDoNotApplyAreRefused() {
        #expect(
            complaint(["rows.npy"]) { $0.length = 16 }
                == "\(corpus("rows.npy")) holds rows of 32 tokens, and sequences are to have 16; give --context 32 (in a recipe "
                + "context)")
        for change in [{ $0.begins = false }, { $0.allowsSpecial = true }] as [(inout TokenDataset.Cut) -> Void] {
            #expect(complaint(["rows.npy"], change).hasPrefix("\(corpus("rows.npy")) holds token ids, which are taken"))
        }
        let noTokenizer =
            "the model has no tokenizer, and this needs one; put tokenizer.json beside its weights, or give rows of token ids"
        for change in [{ $0.begins = true }, { $0.joins = false }] as [(inout TokenDataset.Cut) -> Void] {
            #expect(complaint(["ids.npy"], change) == "\(corpus("ids.npy")): \(noTokenizer)")
        }
        #expect(complaint(["long.txt.gz"]) == "\(corpus("long.txt.gz")): \(noTokenizer)")
    }
}

/// Every document in rows of its own, against what must come of it, written out.
@Suite struct DocumentRowsTests {
    private let folder = TemporaryFolder()

    private func rows(
        _ corpus: Corpus, _ tokenizer: Tokenizer, length: Int, skip: Int = 0, limit: Int? = nil, sequences: Int
    ) throws -> (rows: [[Int32]], counts: [Int]) {
        var cut = TokenDataset.Cut(length: length)
        (cut.joins, cut.skip, cut.limit) = (false, skip, limit)
        let data = try TokenDataset(corpus, tokenizer, vocabularySize: tokenizer.vocabularySize, cut)
        var result: (rows: [[Int32]], counts: [Int]) = ([], [])
        while let batch = try data.nextBatch(sequences: sequences) {
            for s in 0..<batch.sequenceCount {
                result.rows.append(Array(batch.ids[s * length..<(s + 1) * length]))
                result.counts.append(batch.counts?[s] ?? length)
            }
        }
        return result
    }

    /// Documents of ids in rows: `beginning`, ids, padding.
    private func wanted(_ documents: [[Int32]], length: Int, beginning: [Int32]) -> (rows: [[Int32]], counts: [Int]) {
        var result: (rows: [[Int32]], counts: [Int]) = ([], [])
        let cut = length - beginning.count
        for document in documents {
            for first in stride(from: 0, to: document.count, by: cut) {
                let row = beginning + document[first..<min(first + cut, document.count)]
                result.counts.append(row.count)
                result.rows.append(row + [Int32](repeating: 0, count: length - row.count))
            }
        }
        return result
    }

    @Test(arguments: [false, true]) func theLastRowOfADocumentIsWhatIsLeftOfIt(_ begins: Bool) throws {
        if begins {
            try AtomicFile.write(contents(of: fixture("tokenizer/tokenizer.json")), to: folder.file("tokenizer.json"))
            try AtomicFile.write(
                #"{"eos_token": "<|endoftext|>", "bos_token": "<|im_start|>", "add_bos_token": true}"#,
                to: folder.file("tokenizer_config.json"))
        }
        let tokenizer = try Tokenizer.load(path: begins ? folder.path : fixture("tokenizer"))
        let texts = (0..<50).map { i in (0...i).map { "word \($0 * i)" }.joined(separator: " ") }
        try AtomicFile.write(texts.joined(separator: "\n<|endoftext|>\n"), to: folder.file("a.txt"))
        let documents = texts.map { tokenizer.encode($0) }
        let text = try Corpus([folder.file("a.txt")])
        let beginning: [Int32] = begins ? [1] : []
        for (length, sequences) in [(16, 1), (64, 7), (200, 1000)] {
            let expected = wanted(documents, length: length, beginning: beginning)
            #expect(Set(expected.counts).count > 1)
            let found = try rows(text, tokenizer, length: length, sequences: sequences)
            #expect(found.rows == expected.rows && found.counts == expected.counts)
            // Parts are whole rows.
            let part = try rows(text, tokenizer, length: length, skip: 3 * length, limit: 20 * length, sequences: 6)
            #expect(part.rows == Array(expected.rows[3..<23]) && part.counts == Array(expected.counts[3..<23]))
        }
        if begins { return }
        // The same ids as a file, the end-of-text token between documents.
        let stream = Array(documents.joined(separator: [0])).map { Int64($0) }
        var writer = SafetensorsWriter()
        writer.add("ids", integers: stream, shape: [stream.count])
        try writer.write(to: folder.file("ids.safetensors"))
        let expected = wanted(documents, length: 40, beginning: [])
        let found = try rows(try Corpus([folder.file("ids.safetensors")]), tokenizer, length: 40, sequences: 8)
        #expect(found.rows == expected.rows && found.counts == expected.counts)
    }

    @Test func aDocumentLongerThanItsPiecesIsOneDocument() throws {
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        let long = (0..<120_000).map { "line \($0 % 1000) of a long text\n" }.joined().dropLast()
        let expected = wanted([tokenizer.encode(String(long))], length: 100, beginning: [])
        let found = try rows(try Corpus([corpus("long.txt.zst")]), tokenizer, length: 100, sequences: 1000)
        #expect(found.rows == expected.rows && found.counts == expected.counts)
    }

    @Test func tokensAreNamedByIdTextOrSpelling() throws {
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        func ids(_ names: String...) throws -> Set<Int32> {
            try Tokenizer.tokens(named: names, of: tokenizer, vocabularySize: tokenizer.vocabularySize)
        }
        let the = try #require(tokenizer.token("Ġthe"))
        #expect(try ids("<|im_start|>", "5,7", " the") == [1, 5, 7, the])
        #expect(try ids("Ġthe", "\n") == [the, tokenizer.encode("\n")[0]])
        #expect(throws: TextError.noSuchToken(name: "5,561", reason: "the vocabulary has 561 tokens")) {
            try ids("5,561")
        }
        #expect(throws: TextError.self) { try ids("two words") }
        #expect(throws: TextError.noSuchToken(name: "x", reason: "the model has no tokenizer; give ids")) {
            try Tokenizer.tokens(named: ["x"], of: nil, vocabularySize: 10)
        }
    }
}
