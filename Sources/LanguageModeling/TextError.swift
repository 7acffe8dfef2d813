import TensorFiles

/// What can be wrong with a tokenizer or a text: what failed, on which file or value, what to do next.
public enum TextError: Error, Sendable, Equatable {
    /// The tokenizer's file breaks its format or contradicts itself.
    case malformedTokenizer(file: String, what: String)
    /// The tokenizer needs a step that this program does not know.
    case unsupportedTokenizer(file: String, found: String, supported: String)
    /// A token id that the vocabulary does not have.
    case unknownToken(id: Int32, vocabularySize: Int)
    /// What a user named is no token.
    case noSuchToken(name: String, reason: String)
    /// The tokenizer has no token to put between documents.
    case noEndOfText(file: String)
    /// The tokenizer names no token to begin a sequence with.
    case noBeginningOfText(file: String)
    /// A corpus that cannot be cut into sequences without a tokenizer, and a model that has none.
    case noTokenizer(path: String)
    /// Rows of token ids that are not as long as sequences are to be.
    case rowsOfOtherLength(path: String, found: Int, wanted: Int)
    /// Token ids, and settings that say how text becomes some.
    case idsAreGiven(path: String)
    /// A corpus that cannot be opened or read.
    case unreadable(path: String, reason: String)
    /// A text with a byte, counted from 0, that no character of UTF-8 has there.
    case notUTF8(path: String, offset: Int)
    /// A line of a corpus that is not what its format says.
    case malformedLine(file: String, line: Int, what: String)
    /// A corpus without a single character.
    case empty(path: String)
    /// Not a single row of tokens can be cut from the part of the text that was asked for. The count
    /// is nil where `limit` alone rules a row out.
    case tooShort(path: String, tokenCount: Int?, skipped: Int, limit: Int?, length: Int)
}

extension TextError: CustomStringConvertible {
    /// One sentence for the user.
    public var description: String { printable(sentence) }

    /// What is wrong with a line and where, without what to do about it; the whole description of other errors.
    public var cause: String {
        if case .malformedLine(let file, let line, let what) = self { return printable(place(file, line, what)) }
        return description
    }

    private func place(_ file: String, _ line: Int, _ what: String) -> String { "\(file), line \(line): \(what)" }

    private var sentence: String {
        switch self {
        case .malformedTokenizer(let file, let what):
            "\(file): \(what); fetch or convert the model again"
        case .unsupportedTokenizer(let file, let found, let supported):
            "\(file): the tokenizer uses \(found), which is not supported (supported: \(supported)); "
                + "choose another model, or tokenize elsewhere and pass token ids"
        case .unknownToken(let id, let vocabularySize):
            "token id \(id) is not in the vocabulary of \(vocabularySize) tokens; "
                + "check that ids and tokenizer belong to the same model"
        case .noSuchToken(let name, let reason):
            "no token \"\(name)\": \(reason); dmsae lm tokenize shows the ids of a text"
        case .noEndOfText(let file):
            "\(file): the tokenizer names no end-of-text token to put between documents; "
                + "add \(file.hasSuffix(".gguf") ? "tokenizer.ggml.eos_token_id to its metadata" : "\"eos_token\" to tokenizer_config.json")"
        case .noBeginningOfText(let file):
            "\(file): the tokenizer names no beginning-of-sequence token; leave out --bos yes (in a recipe bos: true)"
        case .noTokenizer(let path):
            "\(path): the model has no tokenizer, and this needs one; put tokenizer.json beside its weights, or give rows of token ids"
        case .rowsOfOtherLength(let path, let found, let wanted):
            "\(path) holds rows of \(found) tokens, and sequences are to have \(wanted); give --context \(found) (in a recipe context)"
        case .idsAreGiven(let path):
            "\(path) holds token ids, which are taken as they are; leave out --parse-special, and with rows --bos (in a recipe "
                + "parse_special, bos)"
        case .unreadable(let path, let reason):
            "cannot read \(path): \(reason); "
                + SystemAdvice.reading(
                    reason, else: "give a .jsonl file, a .txt file, files of token ids, or a folder of them")
        case .notUTF8(let path, let offset):
            "\(path): not UTF-8 at byte \(offset); convert it, as with iconv -f LATIN1 -t UTF-8, or give other text"
        case .malformedLine(let file, let line, let what):
            place(file, line, what) + "; "
                + "correct it (every line must be an object like {\"text\": \"…\"}), or pass over such lines with --skip-bad-lines "
                + "(in a recipe skip_bad_lines: true)"
        case .empty(let path):
            "\(path) holds no text; give a file with at least one document"
        case .tooShort(let path, let tokenCount, let skipped, let limit, let length):
            "\(path)"
                + (tokenCount.map { " gives \($0) tokens" } ?? " was not read")
                + (skipped > 0 ? ", \(skipped) are to be skipped" : "")
                + (limit.map { ", at most \($0) are to be used" } ?? "")
                + ": not one row of \(length); use more text or a shorter context"
        }
    }
}
