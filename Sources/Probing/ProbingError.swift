import TensorFiles

/// Why tasks cannot be probed: what failed, on what, what to do next.
package enum ProbingError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The package holds something else than was expected.
    case malformed(file: String, what: String)
    /// A task of another name.
    case noSuchTask(name: String, names: [String])
    /// Too few rows of a class for both parts.
    case tooFewRows(task: String, positive: Int, negative: Int)
    /// A prompt without tokens.
    case emptyPrompt(task: String, row: Int)
    /// An activation that is no number.
    case notFinite(task: String, row: Int)
    /// A probe that does not converge.
    case unsolved(task: String, C: Double)
    /// A tokenizer with too few words for prompts.
    case tooFewWords(count: Int, wanted: Int)
    /// A tokenizer that makes one token of a word's end and of what follows it.
    case wordRunsOn(word: String)
    /// A prompt that the model cannot take whole.
    case promptTooLong(word: String, tokens: Int, most: Int)
    /// A model that hardly knows with what its words begin.
    case tooFewLetters(found: Int, wanted: Int, least: Double)

    package var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .malformed(let file, let what): "\(file): \(what); fetch it again with: dmsae fetch probes"
        case .noSuchTask(let name, let names):
            "there is no task \"\(name)\"" + (nearest(name, among: names).map { "; did you mean \"\($0)\"?" } ?? "")
                + "; the file TASKS beside the package has the names of all \(names.count)"
        case .tooFewRows(let task, let positive, let negative):
            "task \(task) has \(positive) and \(negative) rows of its classes; probes need at least 114 of each"
        case .emptyPrompt(let task, let row):
            "row \(row) of task \(task) has no token; leave the task out with --tasks"
        case .notFinite(let task, let row):
            "the model's activation at row \(row) of task \(task) is no number; check the model"
        case .unsolved(let task, let C):
            "no probe was found for task \(task) at C = \(C): its features may hold huge numbers; check the SAE"
        case .tooFewWords(let count, let wanted):
            "there are \(count) words to spell, tokens of letters alone, and prompts with their examples need at least \(wanted); raise "
                + "--words, or take a model whose tokenizer has more"
        case .wordRunsOn(let word):
            "the tokenizer makes one token of the end of \"\(word)\" and of the text behind it, so that the word has no last token; "
                + "this tokenizer cannot be measured so"
        case .promptTooLong(let word, let tokens, let most):
            "the prompt of \"\(word)\" has \(tokens) tokens, and the model takes \(most); lower --examples"
        case .tooFewLetters(let found, let wanted, let least):
            "of \(found) first letters a probe of the activations has an F1 above \(least), and SAEBench asks for \(wanted): the model "
                + "does not tell them apart here; take a larger model or another layer, raise --words, or lower --min-letters"
        }
    }
}
