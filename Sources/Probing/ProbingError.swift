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
        }
    }
}
