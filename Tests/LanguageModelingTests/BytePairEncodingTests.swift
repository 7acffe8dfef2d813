import Foundation
import LanguageModeling
import TensorFiles
import TestSupport
import Testing

/// Words as the pattern cuts them.
private func words(_ pattern: WordPattern, _ text: String) -> [String] {
    let bytes = Array(text.utf8)
    var result: [String] = []
    bytes.withUnsafeBufferPointer { buffer in
        pattern.forEachWord(buffer) { result.append(String(decoding: buffer[$0], as: UTF8.self)) }
    }
    return result
}

@Suite struct WordPatternTests {
    @Test func gpt2sPatternCutsAsItsExpressionSays() {
        #expect(words(.gpt2, "they'll pay 123  dollars!?") == ["they", "'ll", " pay", " 123", " ", " dollars", "!?"])
        #expect(words(.gpt2, "a\n\n b\n") == ["a", "\n\n", " b", "\n"])
        #expect(words(.gpt2, "x \u{a0}y") == ["x", " ", "\u{a0}", "y"])
    }

    @Test func singleDigitsAreWordsAndEndTheSpacesBeforeThem() {
        #expect(words(.singleDigits, "in  1984½ ") == ["in", "  ", "1", "9", "8", "4", "½", " "])
        #expect(words(.singleDigits, " 7") == [" ", "7"])
    }
}

@Suite struct BytePairEncodingTests {
    @Test func longWordsAreMergedAsShortOnesAre() throws {
        // Above 48 bytes the heap takes over from the plain search. A word with a space glued on in front is one byte
        // longer and otherwise independent, so both ways can be held against the naive oracle below.
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        let naive = try NaiveMerging(tokenizer)
        for length in [2, 3, 7, 47, 48, 49, 50, 97, 400] {
            for period in ["a", "ab", "the", "aab", "statement"] {
                let word = String(String(repeating: period, count: length).prefix(length))
                #expect(tokenizer.encode(word) == naive.encode(word), "\(word)")
            }
        }
    }

    /// Stretches of a word longer than `longestStretch` against the naive oracle would take days, so against the same word
    /// with merges that count as unordered: those are made over the whole word.
    @Test(arguments: ["a", "ab", "the", "aab", "statement", "", "é"]) func stretchesAreMergedAsTheWholeIs(
        _ period: String
    ) throws {
        let folder = TemporaryFolder()
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        let whole = try Tokenizer.load(path: try unordered(in: folder))
        var state: UInt64 = 7
        let count = 3 * BytePairEncoding.longestStretch + 11
        // Without a period, letters at random, the frequent ones more often: every kind of border comes up.
        let (letters, frequent) = (Array(period.utf8), Array("etaoinshrdeatt".utf8))
        let bytes: [UInt8] = (0..<count).map { (i: Int) -> UInt8 in
            guard letters.isEmpty else { return letters[i % letters.count] }
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return frequent[Int(state >> 33) % frequent.count]
        }
        let ids = tokenizer.encode(bytes: bytes)
        #expect(ids == whole.encode(bytes: bytes))
        #expect(try tokenizer.decode(ids) == bytes)
    }

    /// The fixture's tokenizer with a last merge that makes an early part again, so that merges are not ordered. It begins
    /// with a space, which is in none of the words, and so is never made.
    private func unordered(in folder: TemporaryFolder) throws -> String {
        let text = String(decoding: contents(of: fixture("tokenizer/tokenizer.json")), as: UTF8.self)
        let merges = try #require(try JSONValue(parsing: text)["model"]?["merges"]?.array)
        #expect(!merges.contains(.array([.string("Ġa"), .string("b")])), "the pair is free")
        #expect(merges.contains { $0.array?.first == .string("Ġab") }, "its join is a part of a later merge")
        let end = try #require(text.range(of: "]]}}", options: .backwards))
        let changed = text.replacingCharacters(in: end, with: "],[\"Ġa\",\"b\"]]}}")
        try AtomicFile.write(changed, to: folder.file("tokenizer.json"))
        return folder.path
    }

    @Test func aWordOfAMegabyteTakesNoQuadraticTime() throws {
        let tokenizer = try Tokenizer.load(path: fixture("tokenizer"))
        let bytes = [UInt8](repeating: UInt8(ascii: "a"), count: 1 << 20)
        let clock = ContinuousClock()
        var ids: [Int32] = []
        let elapsed = clock.measure { ids = tokenizer.encode(bytes: bytes) }
        #expect(try tokenizer.decode(ids) == bytes)
        // n log n takes under a second; n² would take hours.
        #expect(elapsed < .seconds(30))
    }
}

/// The definition, word for word: look for the pair of lowest rank, merge its leftmost occurrence, start over.
private struct NaiveMerging {
    let ranks: [[String]: Int]
    let tokenizer: Tokenizer

    init(_ tokenizer: Tokenizer) throws {
        self.tokenizer = tokenizer
        let root = try JSONValue(contentsOf: fixture("tokenizer/tokenizer.json"))
        let merges = try #require(root["model"]?["merges"]?.array).map { $0.array!.map { $0.string! } }
        ranks = Dictionary(uniqueKeysWithValues: merges.enumerated().map { ($1, $0) })
    }

    func encode(_ word: String) -> [Int32] {
        var parts = word.map { String($0) }
        while true {
            let candidates = parts.indices.dropLast().compactMap { i in ranks[[parts[i], parts[i + 1]]].map { ($0, i) }
            }
            guard let best = candidates.min(by: <) else { break }
            parts.replaceSubrange(best.1...best.1 + 1, with: [parts[best.1] + parts[best.1 + 1]])
        }
        return parts.map { tokenizer.token($0)! }
    }
}
