import Foundation
import LanguageModeling
import LinearAlgebra
import TensorFiles
import TestSupport
import Testing

/// Small vocabularies with the pipelines of model families, real lines in five scripts and awkward texts; see
/// `Fixtures/tokenizer/families/make.py`.
enum Families {
    static let ofBytes = ["gpt2", "gpt2_prefix", "llama3", "qwen2", "neox"]
    static let ofPieces = ["llama2", "mistral", "metaspace", "metaspace_never", "gemma"]
    static var all: [String] { ofBytes + ofPieces }

    static func path(_ name: String) -> String { fixture("tokenizer/families/\(name)") }

    static func text(_ name: String) -> String { String(decoding: contents(of: path(name)), as: UTF8.self) }

    static func lines() -> [String] { text("lines.txt").split(separator: "\n").map(String.init) }

    static func awkward() throws -> [String] {
        try #require(try JSONValue(contentsOf: path("awkward.json")).array).compactMap(\.string)
    }

    /// The file of a family, with its vocabulary and its merges in place; `change` alters it before.
    static func file(
        _ name: String, in folder: TemporaryFolder, _ change: (String) throws -> String = { $0 }
    ) throws -> String {
        var text = try change(text("\(name).json"))
        for (base, model) in [("byte_level", bytes), ("pieces", pieces)] where text.contains("\"vocab\":\"\(base)\"") {
            text.replace("\"vocab\":\"\(base)\"", with: "\"vocab\":" + model.vocabulary)
            text.replace("\"merges\":\"\(base)\"", with: "\"merges\":" + model.pairs)
            text.replace("\"merges\":\"\(base), joined\"", with: "\"merges\":" + model.joined)
        }
        try AtomicFile.write(text, to: folder.file("tokenizer.json"))
        return folder.file("tokenizer.json")
    }

    private static let bytes = model("byte_level"), pieces = model("pieces")

    /// A vocabulary and its merges as JSON, these in both spellings.
    private static func model(_ base: String) -> (vocabulary: String, pairs: String, joined: String) {
        let text = text("\(base).json")
        guard let cut = text.range(of: ",\"merges\":"),
            let merges = try? JSONValue(parsing: String(text[cut.upperBound...].dropLast())).array
        else { return ("", "", "") }
        let joined = merges.map { JSONValue.quoted($0.array!.map { $0.string! }.joined(separator: " ")) }
        return (
            String(text[..<cut.lowerBound].dropFirst("{\"vocab\":".count)), String(text[cut.upperBound...].dropLast()),
            "[" + joined.joined(separator: ",") + "]"
        )
    }

    /// FNV-1a over ids as 32-bit numbers.
    static func hash(_ ids: [Int32]) -> Int64 {
        var result: UInt32 = 0x811C_9DC5
        for id in ids {
            for shift in stride(from: UInt32(0), to: 32, by: 8) {
                result = (result ^ UInt32(bitPattern: id) >> shift & 0xFF) &* 0x0100_0193
            }
        }
        return Int64(result)
    }

    static func expect(
        _ tokenizer: Tokenizer, _ texts: [String], allowSpecial: Bool = false, areThoseOf name: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        try expect(texts, haveThoseOf: name, sourceLocation: sourceLocation) {
            tokenizer.encode($0, allowSpecial: allowSpecial)
        }
    }

    static func expect(
        _ texts: [String], haveThoseOf name: String, sourceLocation: SourceLocation = #_sourceLocation,
        _ numbers: (String) -> [Int32]
    ) throws {
        let expected = try SafetensorsFile(path: path("ids.safetensors")).integers(name)
        var different: [String] = []
        for (text, hash) in paired(texts, expected, sourceLocation: sourceLocation)
        where Self.hash(numbers(text)) != hash { different.append(text) }
        #expect(different.isEmpty, "\(name), \(different.count) texts, the first: \(different.first.debugDescription)")
    }
}

@Suite struct TokenizerFamilyTests {
    private let folder = TemporaryFolder()

    @Test(arguments: Families.all) func `real lines in five scripts have the ids of the library`(_ name: String) throws
    {
        let tokenizer = try Tokenizer.load(path: Families.file(name, in: folder))
        let awkward = try Families.awkward()
        let lines = Families.lines()
        try #require(lines.count == 2000)
        try Families.expect(tokenizer, lines + awkward, areThoseOf: name)
        try Families.expect(tokenizer, awkward, allowSpecial: true, areThoseOf: "\(name).special")
    }

    /// Merges of a small vocabulary cross few of the cuts, so the cuts themselves are compared too.
    @Test(arguments: [("gpt2", WordPattern.gpt2), ("llama3", .gpt4(digits: 3)), ("qwen2", .gpt4(digits: 1))])
    func `texts are cut where the library cuts them`(_ name: String, _ pattern: WordPattern) throws {
        try Families.expect(Families.lines() + Families.awkward(), haveThoseOf: "\(name).words") { text in
            var lengths: [Int32] = []
            Array(text.utf8).withUnsafeBufferPointer { pattern.forEachWord($0) { lengths.append(Int32($0.count)) } }
            return lengths
        }
    }

    /// A family in GGUF has the same ids, by the name that llama.cpp gives its pre-tokenizer.
    @Test(arguments: [
        ("gpt-2", "gpt2", 1), ("llama-bpe", "llama3", 1), ("qwen2", "qwen2", 1), ("olmo", "neox", 3),
        ("mpt", "neox", 1),
    ]) func `GGUF names a family`(_ pre: String, _ name: String, _ beginning: Int) throws {
        let model = try JSONValue(contentsOf: Families.path("byte_level.json"))
        let added = try #require(try JSONValue(contentsOf: Families.path("\(name).json"))["added_tokens"]?.array)
        var tokens = try #require(model["vocab"]?.object).sorted { $0.value.integer! < $1.value.integer! }.map(\.key)
        var types = tokens.map { _ in 1 }
        for token in added.sorted(by: { $0["id"]!.integer! < $1["id"]!.integer! }) {
            tokens.append(try #require(token["content"]?.string))
            types.append(token["special"]?.bool == true ? 3 : 4)
        }
        var writer = GGUFWriter()
        writer.set("tokenizer.ggml.model", "gpt2")
        writer.set("tokenizer.ggml.pre", pre)
        writer.set("tokenizer.ggml.tokens", tokens)
        writer.set("tokenizer.ggml.token_type", types)
        let merges = try #require(model["merges"]?.array).map { $0.array!.map { $0.string! }.joined(separator: " ") }
        writer.set("tokenizer.ggml.merges", merges)
        writer.set("tokenizer.ggml.bos_token_id", 1604)
        writer.add("output_norm.weight", Matrix(rows: 1, columns: 8))
        try writer.write(to: folder.file("model.gguf"))
        let tokenizer = try Tokenizer.load(path: folder.file("model.gguf"))
        try Families.expect(tokenizer, Families.lines() + Families.awkward(), areThoseOf: name)
        // llama.cpp begins texts of this one family so where the file says nothing.
        #expect(tokenizer.beginningOfText == (name == "llama3" ? 1604 : nil))
    }

    /// With a space in front, and with runs of spaces that share a score, as in Llama 2's and Mistral's files.
    @Test func `pieces of GGUF have the ids of SentencePiece`() throws {
        let pieces = try #require(try JSONValue(contentsOf: Families.path("sentencepiece.json")).array)
        var writer = GGUFWriter()
        writer.set("tokenizer.ggml.model", "llama")
        writer.set("tokenizer.ggml.tokens", pieces.map { $0.array![0].string! })
        writer.set("tokenizer.ggml.scores", pieces.map { Float($0.array![1].double!) })
        writer.set("tokenizer.ggml.token_type", pieces.map { $0.array![2].integer! })
        writer.set("tokenizer.ggml.bos_token_id", 1)
        writer.add("output_norm.weight", Matrix(rows: 1, columns: 8))
        try writer.write(to: folder.file("model.gguf"))
        let tokenizer = try Tokenizer.load(path: folder.file("model.gguf"))
        try Families.expect(tokenizer, Families.lines() + Families.awkward(), areThoseOf: "sentencepiece")
        #expect(try tokenizer.decodeText(tokenizer.encode("a  b")) == " a  b")
        #expect(tokenizer.beginningOfText == 1)
    }

    @Test(arguments: Families.all) func `a text comes back, after a space where the family puts one`(
        _ name: String
    ) throws {
        let tokenizer = try Tokenizer.load(path: Families.file(name, in: folder))
        let prefix = ["gpt2_prefix", "llama2", "mistral", "metaspace"].contains(name) ? " " : ""
        for text in ["hello", "Привет, мир", "पृष्ठ 世界 \u{1F468}", "x\n\n  y"] {
            #expect(try tokenizer.decodeText(tokenizer.encode(text)) == prefix + text)
        }
    }

    /// Cut anywhere that a corpus may be cut, a text has the same tokens, and only its first piece a space in front.
    @Test(arguments: Families.all) func `a document in several pieces has the tokens of the whole`(_ name: String)
        throws
    {
        let tokenizer = try Tokenizer.load(path: Families.file(name, in: folder))
        let text = (Families.lines() + Families.lines()).map { $0 + " so it is\n" }.joined() + "end"
        var long = text
        while long.utf8.count < TextPieces.longestPiece + 1 << 17 { long += "\n" + text }
        try AtomicFile.write(long, to: folder.file("long.txt"))
        var stream = TokenStream(corpus: try TextCorpus(path: folder.file("long.txt")), tokenizer: tokenizer)
        var ids: [Int32] = []
        while let more = try stream.next() { ids += more }
        #expect(ids == tokenizer.encode(long))
    }

    @Test(arguments: Families.all) func `a long word takes no quadratic time`(_ name: String) throws {
        let tokenizer = try Tokenizer.load(path: Families.file(name, in: folder))
        for part in ["a", "ab", "是", "\u{301}\u{323}", "<"] {
            let text = String(repeating: part, count: (1 << 18) / part.utf8.count)
            let ids = tokenizer.encode(text)
            // Of a run of more than 1024 marks none is composed.
            #expect(try tokenizer.decodeText(ids).utf8.suffix(text.utf8.count).elementsEqual(text.utf8), "\(part)")
        }
    }

    /// Two spellings of one character are two tokens, though Swift's texts are equal.
    @Test func `composed and decomposed characters are different tokens`() throws {
        let path = try Families.file("llama2", in: folder)
        let text = String(decoding: contents(of: path), as: UTF8.self)
        try AtomicFile.write(
            text.replacing("{\"<unk>\":0,", with: "{\"<unk>\":0,\"j\u{30c}\":9000,\"ǰ\":9001,"), to: path)
        let tokenizer = try Tokenizer.load(path: path)
        #expect(tokenizer.encode("ǰ").last == 9001)
        #expect(tokenizer.token("j\u{30c}") == 9000)
        let vocabulary = "{\"model\":{\"vocab\":{\"e\u{301}\":0,\"é\":1}}}"
        let listed = try Array(vocabulary.utf8).withUnsafeBytes { try JSONValue(parsing: $0, listing: ["vocab"]) }
        #expect(listed["model"]?["vocab"]?.array?.count == 4)
    }
}

@Suite struct BeginningOfTextTests {
    private let folder = TemporaryFolder()

    private func beginning(_ name: String, settings: String? = nil) throws -> Int32? {
        _ = try Families.file(name, in: folder)
        let path = folder.file("tokenizer_config.json")
        try AtomicFile.write(settings ?? "{}", to: path)
        return try Tokenizer.load(path: folder.path).beginningOfText
    }

    @Test func `the template says which token texts begin with, and the settings whether`() throws {
        #expect(try beginning("llama2") == 1)
        #expect(try beginning("llama3") == 1604)
        #expect(try beginning("gpt2") == nil)
        #expect(try beginning("qwen2") == nil)
        #expect(try beginning("gpt2", settings: #"{"bos_token": "<|endoftext|>"}"#) == nil)
        #expect(try beginning("gpt2", settings: #"{"bos_token": "<|endoftext|>", "add_bos_token": true}"#) == 1604)
        #expect(try beginning("llama2", settings: #"{"bos_token": "<s>", "add_bos_token": false}"#) == nil)
        #expect(try beginning("llama2", settings: #"{"add_bos_token": true}"#) == 1)
        #expect(
            message { _ = try beginning("gpt2", settings: #"{"add_bos_token": true}"#) }
                == "\(folder.path)/tokenizer_config.json: \"add_bos_token\" is true, and there is no \"bos_token\"; fetch or "
                + "convert the model again")
    }

    @Test(arguments: [
        ("gpt2", "{\"add_prefix_space\": true}", "a prefix space (\"add_prefix_space\")"),
        ("llama2", "{\"add_prefix_space\": false}", "no prefix space (\"add_prefix_space\")"),
    ]) func `settings that contradict the steps are refused`(_ name: String, _ settings: String, _ found: String) throws
    {
        let text = message { _ = try beginning(name, settings: settings) }
        #expect(text.contains("tokenizer_config.json: the tokenizer uses \(found), which is not supported"), "\(text)")
        _ = try beginning(
            name, settings: settings.contains("true") ? "{\"add_prefix_space\": false}" : "{\"add_prefix_space\": true}"
        )
    }
}

@Suite struct TokenizerStepTests {
    private let folder = TemporaryFolder()

    /// A part of a family's file written otherwise, and what is said of it.
    @Test(arguments: [
        (
            "llama3", "{1,3}", "{1,2}",
            "uses the pattern (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,2}|"
        ),
        ("llama3", "\"Isolated\"", "\"MergedWithNext\"", "Split with \"behavior\" MergedWithNext and \"invert\" false"),
        ("llama3", "\"invert\":false", "\"invert\":true", "Split with \"behavior\" Isolated and \"invert\" true"),
        ("llama3", "\"Regex\"", "\"String\"", "Split without \"Regex\""),
        ("llama3", "\"use_regex\":false", "\"use_regex\":true", "two patterns"),
        (
            "llama3", "\"SpecialToken\":{\"id\":\"<|begin_of_text|>\"", "\"SpecialToken\":{\"id\":\"<x>\"",
            "gives no \"ids\" of it"
        ),
        ("llama3", "\"TemplateProcessing\"", "\"RobertaProcessing\"", "the post-processor \"RobertaProcessing\""),
        ("llama3", "\"ids\":[1604]", "\"ids\":[1604,1605]", "two tokens before a text"),
        ("gpt2", "\"use_regex\":true},\"post", "\"use_regex\":false},\"post", "ByteLevel without its pattern"),
        ("gpt2", "\"byte_fallback\":false", "\"byte_fallback\":true", "the option \"model.byte_fallback\""),
        ("neox", "\"NFC\"", "\"NFKC\"", "the normalizer \"NFKC\""),
        ("neox", "\"type\":\"NFC\"", "\"type\":\"NFC\",\"form\":1", "the option \"normalizer.form\""),
        ("neox", "\"lstrip\":false", "\"lstrip\":true", "the added token \"<|endoftext|>\" with \"lstrip\""),
        ("llama2", "\"prepend\":\"▁\"", "\"prepend\":\"_\"", "the normalizer \"Prepend\""),
        ("llama2", "\"String\":\" \"", "\"Regex\":\" \"", "the normalizer \"Replace\""),
        (
            "llama2", ",{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"▁\"}]", "]",
            "the normalizer \"Prepend\" alone"
        ),
        (
            "llama2", "\"pre_tokenizer\":null", "\"pre_tokenizer\":{\"type\":\"Whitespace\"}",
            "the pre-tokenizer \"Whitespace\""
        ),
        ("llama2", "\"byte_fallback\":true", "\"byte_fallback\":false", "pieces without \"model.byte_fallback\""),
        ("llama2", "\"Fuse\"", "\"WordPiece\"", "the decoder \"WordPiece\""),
        ("mistral", "\"replacement\":\"▁\"", "\"replacement\":\"_\"", "Metaspace with another \"replacement\" than ▁"),
        ("mistral", "\"first\"", "\"last\"", "Metaspace with \"prepend_scheme\" last"),
        ("mistral", "\"split\":false", "\"split\":0", "\"pre_tokenizer.split\" is 0, not true or false"),
        ("mistral", "\"split\":false", "\"add_prefix_space\":false", "of Metaspace contradict each other"),
        ("mistral", "\"split\":false", "\"cut\":false", "the option \"pre_tokenizer.cut\""),
        (
            "gemma", "MergedWithPrevious\",\"invert\":false", "MergedWithPrevious\",\"inverts\":false",
            "the option \"pre_tokenizer.inverts\""
        ),
        (
            "gemma", "\"Split\",\"pattern\":{\"String\":\" \"}", "\"Split\",\"pattern\":{\"String\":\"x\"}",
            "the pre-tokenizer \"Split\""
        ),
    ]) func `a step that would give other ids is refused by name`(
        _ family: String, _ old: String, _ new: String, _ says: String
    ) throws {
        let path = try Families.file(family, in: folder) { text in
            let cut = try #require(text.range(of: old))
            return text.replacingCharacters(in: cut, with: new)
        }
        let text = message { _ = try Tokenizer.load(path: path) }
        #expect(text.hasPrefix("\(path): ") && text.contains(says), "\(text)")
    }

    @Test func `a byte that no token stands for is named`() throws {
        let path = try Families.file("llama2", in: folder)
        let text = String(decoding: contents(of: path), as: UTF8.self).replacing("\"<0x0A>\"", with: "\"<0x0a0>\"")
        try AtomicFile.write(text, to: path)
        #expect(message { _ = try Tokenizer.load(path: path) }.hasPrefix("\(path): no token stands for the byte 10;"))
    }

    /// The older spelling of the same cut: what lies between the words of a pattern is thrown away, and nothing does.
    @Test func `other spellings of the same steps are read`() throws {
        for (family, old, new) in [
            ("llama3", "\"Isolated\",\"invert\":false", "\"Removed\",\"invert\":true"),
            ("metaspace_never", "\"prepend_scheme\":\"never\"", "\"add_prefix_space\":false,\"str_rep\":\"▁\""),
            ("metaspace", ",\"add_prefix_space\":true", ""),
            (
                "qwen2", "\"normalizer\":{\"type\":\"NFC\"}",
                "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}"
            ),
        ] {
            let tokenizer = try Tokenizer.load(
                path: Families.file(family, in: folder) { text in
                    #expect(text.contains(old))
                    return text.replacing(old, with: new)
                })
            try Families.expect(tokenizer, Families.lines() + Families.awkward(), areThoseOf: family)
        }
    }
}
