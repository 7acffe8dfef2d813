/// What can go wrong in harvesting, training and distilling as a whole.
public enum DistillationError: Error, CustomStringConvertible, Equatable {
    /// Ctrl-C.
    case interrupted
    /// A recipe that cannot be read.
    case badRecipe(path: String, reason: String)
    /// A key that no recipe has.
    case unknownKey(key: String, nearest: String?)
    /// A value of the wrong type or out of range.
    case badValue(key: String, value: String, wanted: String)
    /// A run folder that is in use.
    case runExists(folder: String)
    /// Nothing to resume.
    case nothingToResume(folder: String)
    /// A resumed run whose recipe is another.
    case recipeChanged(folder: String, key: String, was: String, now: String)
    /// Fewer rows than a batch.
    case tooFewRows(rows: Int, batch: Int)
    /// A store of another width, or damaged.
    case badStore(path: String, reason: String)
    /// No core was left.
    case emptyCore(cycle: Int, previous: Int, selected: Int)
    /// Less text than asked for.
    case textTooShort(wanted: Int, found: Int, purpose: String)

    /// What failed, on which value, what to do next.
    public var description: String {
        switch self {
        case .interrupted: "interrupted"
        case .badRecipe(let path, let reason):
            "recipe \(path): \(reason); `dmsae distill --print-recipe demo` shows one"
        case .unknownKey(let key, let nearest):
            "recipe key \"\(key)\" does not exist"
                + (nearest.map { "; did you mean \"\($0)\"?" } ?? "; `dmsae distill --print-recipe demo` lists them all")
        case .badValue(let key, let value, let wanted): "recipe key \(key) is \"\(value)\"; it must be \(wanted)"
        case .runExists(let folder):
            "\(folder) already holds a run; continue it with --resume, or choose another --out"
        case .nothingToResume(let folder): "\(folder) holds no run to resume; leave out --resume to start one"
        case .recipeChanged(let folder, let key, let was, let now):
            "the run in \(folder) was started with \(key) = \(was), now it is \(now); "
                + "resume it with its own recipe or choose another --out"
        case .tooFewRows(let rows, let batch):
            "\(rows) rows of activations do not fill one batch of \(batch); harvest more tokens or lower the batch"
        case .badStore(let path, let reason): "activation store \(path): \(reason); harvest it again"
        case .emptyCore(let cycle, let previous, let selected):
            "cycle \(cycle): none of the \(previous) latents of the last core is among the \(selected) selected now, so "
                + "the core is empty; raise k (the paper found k ≤ 80 to carry nothing over), train longer, or lower τ"
        case .textTooShort(let wanted, let found, let purpose):
            "the text has \(found) of the \(wanted) tokens wanted for \(purpose); "
                + "give more text or ask for fewer tokens"
        }
    }
}
