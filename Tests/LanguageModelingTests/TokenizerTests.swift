import Glibc
import LanguageModeling
import TensorFiles
import TestSupport
import Testing

/// Awkward texts and their ids as the `tokenizers` library gives them.
private struct ReferenceIDs {
    let texts: [String]
    private let root: JSONValue

    init() throws {
        root = try JSONValue(contentsOf: fixture("tokenizer/ids.json"))
        texts = try #require(root["texts"]?.array).compactMap(\.string)
        try #require(texts.count > 100)
    }

    func ids(_ kind: String) throws -> [[Int32]] {
        try #require(root[kind]?.array).map { $0.array!.map { Int32($0.integer!) } }
    }
}

private func smallTokenizer() throws -> Tokenizer { try .load(path: fixture("tokenizer")) }

/// `tokenizer.json` of the fixtures with its first occurrence of `old` replaced.
private func altered(_ old: String, _ new: String, in folder: TemporaryFolder) throws -> String {
    let text = String(decoding: contents(of: fixture("tokenizer/tokenizer.json")), as: UTF8.self)
    let cut = try #require(text.firstRange(of: old))
    try AtomicFile.write(text.replacingCharacters(in: cut, with: new), to: folder.file("tokenizer.json"))
    return folder.path
}

extension String {
    fileprivate func firstRange(of part: String) -> Range<Index>? {
        let (text, wanted) = (Array(utf8), Array(part.utf8))
        for start in 0...max(0, text.count - wanted.count) where text[start...].starts(with: wanted) {
            return utf8.index(startIndex, offsetBy: start)..<utf8.index(startIndex, offsetBy: start + wanted.count)
        }
        return nil
    }

    fileprivate func replacingCharacters(in range: Range<Index>, with text: String) -> String {
        String(self[..<range.lowerBound]) + text + String(self[range.upperBound...])
    }
}

/// Reproducible bytes for the round trip; nothing depends on their quality.
private struct WeylSequence: RandomNumberGenerator {
    private var state: UInt64 = 1
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return (state ^ state >> 32) &* 0xD6E8_FEB8_6659_FD93
    }
}

@Suite struct TokenizerTests {
    @Test func idsAreThoseOfTheReferenceWithDigitsOneByOne() throws {
        let (tokenizer, reference) = (try smallTokenizer(), try ReferenceIDs())
        for (text, ids) in paired(reference.texts, try reference.ids("digits")) {
            #expect(tokenizer.encode(text) == ids, "\(text.debugDescription)")
        }
        for (text, ids) in paired(reference.texts, try reference.ids("digitsSpecial")) {
            #expect(tokenizer.encode(text, allowSpecial: true) == ids, "\(text.debugDescription)")
        }
    }

    @Test func idsAreThoseOfTheReferenceWithGPT2sPattern() throws {
        let folder = TemporaryFolder()
        let digits = #"{"type":"Digits","individual_digits":true},"#
        let (tokenizer, reference) = (try Tokenizer.load(path: altered(digits, "", in: folder)), try ReferenceIDs())
        for (text, ids) in paired(reference.texts, try reference.ids("gpt2")) {
            #expect(tokenizer.encode(text) == ids, "\(text.debugDescription)")
        }
    }

    @Test(.enabled(if: DemoModel.path != nil, "needs `dmsae fetch demo`"))
    func idsOfTheDemoModelAreThoseOfTheReference() throws {
        let (tokenizer, reference) = (try Tokenizer.load(path: DemoModel.path!), try ReferenceIDs())
        #expect(tokenizer.vocabularySize == 49152)
        #expect(tokenizer.specialTokens == Set(0..<17))
        #expect(tokenizer.endOfText == 0)
        #expect(tokenizer.tokenString(260) == "Ġthe")
        for (text, ids) in paired(reference.texts, try reference.ids("smollm2")) {
            #expect(tokenizer.encode(text) == ids, "\(text.debugDescription)")
        }
        for (text, ids) in paired(reference.texts, try reference.ids("smollm2Special")) {
            #expect(tokenizer.encode(text, allowSpecial: true) == ids, "\(text.debugDescription)")
        }
    }

    @Test(.enabled(if: DemoModel.path != nil, "needs `dmsae fetch demo`"))
    func passagesHaveTheTokensThatTheModelWasRunOn() throws {
        let tokenizer = try Tokenizer.load(path: DemoModel.path!)
        let passages = try JSONValue(contentsOf: fixture("smollm2/passages.json"))
        let ids = try SafetensorsFile(path: fixture("smollm2/io.safetensors")).integers("input_ids").map { Int32($0) }
        let strings = try #require(passages["tokenizer"]?["strings"]?.array)
        let texts = try #require(passages["passages"]?.array)
        #expect(texts.count == 2)
        for (index, passage) in texts.enumerated() {
            let expected = Array(ids[index * 64..<index * 64 + 64])
            #expect(tokenizer.encode(try #require(passage["text"]?.string)) == expected)
            #expect(expected.map { tokenizer.tokenString($0) } == strings[index].array?.map(\.string))
        }
    }

    /// A part of the file written otherwise, and what is said of it.
    @Test(arguments: [
        (
            "\"use_regex\":true}]", "\"use_regex\":0}]",
            "\"pre_tokenizer.pretokenizers[1].use_regex\" is 0, not true or false"
        ),
        (
            "\"add_prefix_space\":false", "\"add_prefix_space\":\"False\"",
            "\"pre_tokenizer.pretokenizers[1].add_prefix_space\" is \"False\", not true or false"
        ),
        (
            "\"individual_digits\":true", "\"individual_digits\":1",
            "\"pre_tokenizer.pretokenizers[0].individual_digits\" is 1"
        ),
        ("\"byte_fallback\":false", "\"byte_fallback\":1", "\"model.byte_fallback\" is 1, not true or false"),
        (
            "\"ignore_merges\":false", "\"ignore_merges\":\"true\"",
            "\"model.ignore_merges\" is \"true\", not true or false"
        ),
        ("\"dropout\":null", "\"dropout\":0.1", "the tokenizer uses the option \"model.dropout\""),
        ("\"dropout\":null", "\"split_words\":true", "the tokenizer uses the option \"model.split_words\""),
        ("\"single_word\":false", "\"single_word\":1", "\"added_tokens[0].single_word\" is 1, not true or false"),
        ("\"special\":true", "\"special\":\"yes\"", "\"added_tokens[0].special\" is \"yes\", not true or false"),
        (
            "\"trim_offsets\":true,\"use_regex\":true}]", "\"behavior\":1,\"use_regex\":true}]",
            "pretokenizers[1].behavior\""
        ),
        ("\"normalizer\":null", "\"normalizer\":{\"type\":\"NFKC\"}", "the tokenizer uses the normalizer \"NFKC\""),
        ("\"normalizer\":null", "\"rewriter\":{}", "the tokenizer uses the option \"rewriter\""),
        (
            "\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"Fuse\"",
            "the tokenizer uses the decoder \"Fuse\""
        ),
        ("\"id\":0,", "\"id\":0.0,", "an entry of \"added_tokens\" has no \"content\" or no \"id\""),
    ]) func aSettingThatWouldGiveOtherIdsIsRefusedByName(_ old: String, _ new: String, _ says: String) throws {
        let folder = TemporaryFolder()
        let path = try altered(old, new, in: folder)
        let text = message { _ = try Tokenizer.load(path: path) }
        #expect(text.hasPrefix("\(path)/tokenizer.json: ") && text.contains(says), "\(text)")
    }

    @Test(arguments: [
        (
            #"{"add_prefix_space": true}"#,
            "the tokenizer uses a prefix space (\"add_prefix_space\"), which is not supported"
        ),
        (#"{"add_prefix_space": 0}"#, "\"add_prefix_space\" is 0, not true or false"),
        (#"{"eos_token": 5}"#, "\"eos_token\" is 5, not a token"),
        (
            #"{"added_tokens_decoder": {"900": {"content": "<new>"}}}"#,
            "the tokenizer uses the added token \"<new>\" with id 900, which tokenizer.json has not"
        ),
        (
            #"{"added_tokens_decoder": {"0": {"content": "<|endoftext|>", "rstrip": true}}}"#,
            "the tokenizer uses the added token \"<|endoftext|>\" with \"rstrip\""
        ),
    ]) func aSecondFileThatMakesAnotherTokenizerIsRefused(_ text: String, _ says: String) throws {
        let folder = TemporaryFolder()
        try AtomicFile.write(contents(of: fixture("tokenizer/tokenizer.json")), to: folder.file("tokenizer.json"))
        try AtomicFile.write(text, to: folder.file("tokenizer_config.json"))
        let found = message { _ = try Tokenizer.load(path: folder.path) }
        #expect(found.hasPrefix("\(folder.path)/tokenizer_config.json: \(says)"), "\(found)")
    }

    @Test func whatHasNoSayInTheIdsIsPassedOver() throws {
        let folder = TemporaryFolder()
        for (old, new) in [
            ("\"truncation\":null", "\"truncation\":{\"max_length\":3}"),
            ("\"post_processor\":null", "\"post_processor\":{\"type\":\"ByteLevel\",\"trim_offsets\":true}"),
            ("\"unk_token\":null", "\"unk_token\":\"<|endoftext|>\""),
        ] {
            let ids = try Tokenizer.load(path: altered(old, new, in: folder)).encode("the cat on the mat")
            #expect(ids == (try smallTokenizer().encode("the cat on the mat")))
        }
    }

    @Test func everyTextComesBack() throws {
        let tokenizer = try smallTokenizer()
        for text in try ReferenceIDs().texts {
            #expect(try tokenizer.decode(tokenizer.encode(text)) == Array(text.utf8))
            #expect(try tokenizer.decodeText(tokenizer.encode(text, allowSpecial: true)) == text)
        }
    }

    @Test func anyBytesComeBack() throws {
        let tokenizer = try smallTokenizer()
        #expect(tokenizer.unspellableBytes.isEmpty)
        let awkward: [[UInt8]] = [
            [0xFF], [0xC0, 0x80], [0xE2, 0x82], [0x61, 0xE2, 0x82, 0x62], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80],
            [0xF0, 0x9F, 0x98], [0x80, 0x20, 0x80], Array(0...255), [0x20, 0xFF, 0x20], [0x31, 0xFF, 0x32],
        ]
        for bytes in awkward { #expect(try tokenizer.decode(tokenizer.encode(bytes: bytes)) == bytes) }
        var random = WeylSequence()
        for _ in 0..<200 {
            let bytes = (0..<Int.random(in: 0...80, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            #expect(try tokenizer.decode(tokenizer.encode(bytes: bytes)) == bytes, "\(bytes)")
        }
    }

    @Test func textCutBetweenWordsGivesTheSameTokens() throws {
        let tokenizer = try smallTokenizer()
        #expect(tokenizer.encode("the state") == tokenizer.encode("the") + tokenizer.encode(" state"))
    }

    @Test func documentsOnAllLanesGiveTheTokensOfEachAlone() throws {
        let (tokenizer, texts) = (try smallTokenizer(), try ReferenceIDs().texts)
        let documents = texts.map { Array($0.utf8) } + [Array(String(repeating: "long ", count: 9999).utf8), []]
        #expect(tokenizer.encode(documents: documents) == documents.map { tokenizer.encode(bytes: $0) })
        #expect(tokenizer.encode(documents: []) == [])
    }

    @Test func specialTokensAreTextUnlessAskedFor() throws {
        let tokenizer = try smallTokenizer()
        #expect(tokenizer.encode("<|endoftext|>").count > 1)
        #expect(tokenizer.encode("<|endoftext|>", allowSpecial: true) == [0])
        #expect(tokenizer.endOfText == 0)
        #expect(tokenizer.specialTokens == [0, 1, 2])
        // An added token that is not special is part of the vocabulary; the longer one wins.
        #expect(tokenizer.encode("<name>s<name>") == [560, 559])
    }

    @Test func unknownIDsAreRefused() throws {
        let tokenizer = try smallTokenizer()
        #expect(throws: TextError.unknownToken(id: 561, vocabularySize: 561)) { try tokenizer.decode([0, 561]) }
        #expect(throws: TextError.unknownToken(id: -1, vocabularySize: 561)) { try tokenizer.decode([-1]) }
        #expect(tokenizer.tokenString(-1) == nil)
    }

    @Test func theEndOfTextIsTheConfiguredOneWhereTheVocabularyHasNoneOfThatName() throws {
        let folder = TemporaryFolder()
        let path = try altered("<|endoftext|>", "<eot>", in: folder)
        // The same spelling stands in the vocabulary.
        let text = String(decoding: contents(of: folder.file("tokenizer.json")), as: UTF8.self)
        let cut = try #require(text.firstRange(of: "<|endoftext|>"))
        try AtomicFile.write(text.replacingCharacters(in: cut, with: "<eot>"), to: folder.file("tokenizer.json"))
        #expect(try Tokenizer.load(path: path).endOfText == nil)
        try AtomicFile.write(#"{"eos_token": {"content": "<|im_end|>"}}"#, to: folder.file("tokenizer_config.json"))
        #expect(try Tokenizer.load(path: path).endOfText == 2)
        try AtomicFile.write(#"{"eos_token": "</s>"}"#, to: folder.file("tokenizer_config.json"))
        #expect(throws: TextError.self) { try Tokenizer.load(path: path) }
    }

    @Test(arguments: [
        (#""type":"BPE""#, #""type":"Unigram""#, "the model \"Unigram\""),
        (#""type":"Digits""#, #""type":"Metaspace""#, "the pre-tokenizer \"Metaspace, ByteLevel\""),
        (#""individual_digits":true"#, #""individual_digits":false"#, "Digits in runs"),
        (#""add_prefix_space":false"#, #""add_prefix_space":true"#, "ByteLevel with a prefix space"),
        (#""normalizer":null"#, #""normalizer":{"type":"NFKC"}"#, "the normalizer \"NFKC\""),
        (#""byte_fallback":false"#, #""byte_fallback":true"#, "the option \"model.byte_fallback\""),
        (#""end_of_word_suffix":null"#, #""end_of_word_suffix":"</w>""#, "the option \"model.end_of_word_suffix\""),
        (#""lstrip":false"#, #""lstrip":true"#, "the added token \"<|endoftext|>\" with \"lstrip\""),
    ])
    func anUnknownStepIsNamed(_ old: String, _ new: String, _ found: String) throws {
        let folder = TemporaryFolder()
        let path = try altered(old, new, in: folder)
        do {
            _ = try Tokenizer.load(path: path)
            Issue.record("loaded")
        } catch let error as TextError {
            #expect("\(error)".contains("the tokenizer uses \(found)"), "\(error)")
            #expect("\(error)".contains("which is not supported (supported: "))
        }
    }

    @Test(arguments: [
        (#""merges":["#, #""merges":["x","#, "merge 0, \"x\", is not two tokens"),
        (#""merges":["#, #""merges":[["q","zzzzz"],"#, "merge 0, \"q\" with \"zzzzz\""),
        (#""merges":["#, #""merges":[7,"#, "not a pair of tokens"),
        (#""<|im_start|>":1"#, #""<|im_start|>":0"#, "appears twice"),
        (#""<|im_start|>":1"#, #""<|im_start|>":-1"#, "has id -1"),
        (#""<|im_start|>":1"#, #""<|im_start|>":2000000000"#, "an id of 66"),
        (#""<|im_start|>":1"#, #""<|im_start|>":1.5"#, "has no integer id"),
        (#""id":1,"#, #""id":300,"#, "is at odds with the vocabulary"),
    ])
    func aContradictionInTheFileIsNamed(_ old: String, _ new: String, _ what: String) throws {
        let folder = TemporaryFolder()
        let path = try altered(old, new, in: folder)
        do {
            _ = try Tokenizer.load(path: path)
            Issue.record("loaded")
        } catch let error as TextError {
            #expect("\(error)".contains(what), "\(error)")
        }
    }

    @Test func aMissingFileIsNamed() {
        #expect(
            throws: TensorFileError.unreadable(file: "/nowhere/tokenizer.json", reason: "No such file or directory")
        ) { try Tokenizer.load(path: "/nowhere") }
    }
}
