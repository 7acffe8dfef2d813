import TensorFiles

/// What can be wrong with a sweep as a whole.
public enum SweepError: Error, CustomStringConvertible, Equatable {
    /// An axis that cannot be read.
    case badAxis(text: String, reason: String)
    /// A key on two axes, or seeds beside `--seeds`.
    case keyTwice(key: String)
    /// A recipe that repeats itself with several seeds.
    case seedsOfRecipe
    /// Neither keys nor seeds.
    case nothingToSweep
    /// More points than anybody waits for.
    case tooManyPoints(most: Int)
    /// A point that there is not.
    case noSuchPoint(index: Int, count: Int)
    /// A folder with another sweep.
    case otherSweep(folder: String, key: String, was: String, now: String)
    /// A folder with none.
    case noSweep(folder: String)
    /// Points that failed; the others are done.
    case failed(points: Int, of: Int, first: String, folder: String)

    /// What failed, on which value, what to do next.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .badAxis(let text, let reason):
            "--over \(text): \(reason); give a recipe key and its values, as --over distill.tau=0.5,0.7,0.9"
        case .keyTwice(let key):
            "\(key) is swept over twice; give all its values in one --over"
                + (key == "seed" ? ", or leave --seeds out" : "")
        case .seedsOfRecipe:
            "a sweep has its seeds as points of its own, each with a row in the table; give --seeds N in the place of the recipe's key seeds"
        case .nothingToSweep: "give the keys to sweep over, as --over distill.tau=0.3,0.5, or --seeds N"
        case .tooManyPoints(let most): "the sweep has more than \(most) points; give fewer values"
        case .noSuchPoint(let index, let count):
            "there is no point \(index); the sweep has \(count), counted from 0"
        case .otherSweep(let folder, let key, let was, let now):
            "the sweep in \(folder) was started with \(key) = \(was), now it is \(now); go on with it by `dmsae sweep \(folder)`, "
                + "or choose another --out"
        case .noSweep(let folder): "\(folder) holds no sweep (sweep.json); to begin one give a recipe and --over"
        case .failed(let points, let of, let first, let folder):
            "\(points) of \(of) points failed; the first says: \(first). The others are done, and "
                + "`dmsae sweep \(folder)` tries the failed ones again"
        }
    }
}
