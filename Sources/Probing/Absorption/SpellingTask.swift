import LanguageModeling
import LinearAlgebra

/// SAEBench's first-letter task (arXiv:2409.14507): words in an order that is drawn, four fifths to learn from and the others to test on, and
/// prompts that end in one of them after examples of others,
///
///     \n tortoise has the first letter: T\n shot has the first letter: S …\n snake has the first letter:
///
/// SAEBench draws with Python's `random`, which nothing seeds there; here everything follows from a seed.
package struct SpellingTask: Sendable {
    /// In the order drawn.
    package let words: [SpellingWord]
    /// The first so many are learnt from.
    package let trainCount: Int
    private let seed: UInt64
    private let exampleCount: Int

    /// SAEBench's.
    package static let usualExamples = 10
    /// What stands behind the word.
    static let question = " has the first letter:"

    /// What prompts are for, and so whose words their examples are.
    package enum Part: UInt32, Sendable {
        /// To learn probes from: the words of this part give the examples.
        case train = 1
        /// To test them on: as before.
        case test = 2
        /// To look for absorption: words of the test part, once more, with examples of all words.
        case again = 3
    }

    /// Draws at most `limit` words.
    ///
    /// - Throws: `ProbingError.tooFewWords` where a part has too few for its examples.
    package init(_ all: [SpellingWord], limit: Int, examples: Int = usualExamples, seed: UInt64) throws {
        let order = CounterRandom(seed: seed, purpose: .spelling).permutation(all.count).prefix(limit)
        words = order.map { all[Int($0)] }
        trainCount = Int(Double(words.count) * 0.8)
        (exampleCount, self.seed) = (examples, seed)
        // Of equal words one is none for the other.
        let parts = [words[..<trainCount], words[trainCount...]].map { Set($0.map(\.text)).count }
        guard parts.allSatisfy({ $0 > examples }) else {
            throw ProbingError.tooFewWords(count: words.count, wanted: 5 * (examples + 1))
        }
    }

    /// The numbers of the words of a part.
    package func rows(of part: Part) -> Range<Int> { part == .train ? 0..<trainCount : trainCount..<words.count }

    /// The prompt of a word: examples that are other words than it, no two from one place, drawn for it and for what it is for.
    package func prompt(ofWord row: Int, for part: Part) -> String {
        let pool = part == .again ? 0..<words.count : rows(of: part)
        let random = CounterRandom(seed: seed, purpose: .spelling, step: part.rawValue)
        var (taken, text) = ([Int](), "\n")
        var draw = UInt64(row) << 32
        while taken.count < exampleCount {
            // The modulo's bias is below count/2⁶⁴.
            let example = pool.lowerBound + Int(random.word(draw) % UInt64(pool.count))
            draw += 1
            guard !taken.contains(example), words[example].text != words[row].text else { continue }
            taken.append(example)
            let word = words[example]
            text += word.text + Self.question + " " + SpellingWord.letters[word.letter].uppercased() + "\n"
        }
        return text + words[row].text + Self.question
    }

    /// Prompts as tokens, each up to the last of its word: what a causal model has there does not depend on what follows. SAEBench counts
    /// six tokens from the end, which is the same where the question has five.
    ///
    /// - Throws: `ProbingError.wordRunsOn`, `.promptTooLong`.
    package func tokens(
        ofWords rows: [Int], for part: Part, tokenizer: Tokenizer, beginning: Int32?, most: Int
    ) throws -> [[Int32]] {
        let start = beginning.map { [$0] } ?? []
        let prompts = rows.map { Array(prompt(ofWord: $0, for: part).utf8) }
        return try zip(rows, tokenizer.encode(documents: prompts)).map { row, ids in
            let kept = ids.dropLast(try Self.questionTokens(of: ids, tokenizer, words[row].text))
            guard start.count + kept.count <= most else {
                throw ProbingError.promptTooLong(word: words[row].text, tokens: start.count + kept.count, most: most)
            }
            return start + kept
        }
    }

    /// The place of a word's last token in its whole prompt, counted from the end: −6 where the question has five.
    package func tokenPosition(_ tokenizer: Tokenizer) throws -> Int {
        let ids = tokenizer.encode(prompt(ofWord: 0, for: .train))
        return -1 - (try Self.questionTokens(of: ids, tokenizer, words[0].text))
    }

    /// How many tokens spell the question at the end.
    private static func questionTokens(of ids: [Int32], _ tokenizer: Tokenizer, _ word: String) throws -> Int {
        var (left, count) = (Array(question.utf8), 0)
        while !left.isEmpty {
            let token = try tokenizer.decode([ids[ids.count - 1 - count]])
            guard !token.isEmpty, token.count <= left.count, left.suffix(token.count).elementsEqual(token) else {
                throw ProbingError.wordRunsOn(word: word)
            }
            left.removeLast(token.count)
            count += 1
        }
        return count
    }
}
