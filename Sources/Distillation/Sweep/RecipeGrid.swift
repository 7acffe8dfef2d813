import TensorFiles
import Yams

/// What a recipe's file is to be swept over, its section `sweep`:
///
///     sweep:
///       over: ["distill.tau=0.5,0.7", "train.k=64,128"]
///       seeds: 3
public struct RecipeGrid: Sendable, Equatable {
    /// As `--over` has them.
    public let axes: [SweepAxis]
    /// As `--seeds` has it.
    public let seeds: Int

    static let section = "sweep"

    /// - Throws: `SweepError.badAxis`; `DistillationError` for another key or a value of another type.
    init(_ node: Node) throws {
        guard let mapping = node.mapping else {
            throw DistillationError.badValue(key: Self.section, value: node.shown, wanted: "over and seeds")
        }
        var (axes, seeds) = ([SweepAxis](), 1)
        for (key, value) in mapping {
            let name = Self.section + "." + (key.scalar?.string ?? "")
            switch name {
            case "sweep.over":
                let texts = try [String](recipeNode: value, key: name)
                axes = try texts.map { try SweepAxis($0) }
            case "sweep.seeds":
                seeds = try Int(recipeNode: value, key: name)
                guard (1...10_000).contains(seeds) else {
                    throw DistillationError.badValue(key: name, value: "\(seeds)", wanted: "between 1 and 10000")
                }
            default: throw DistillationError.unknownKey(key: name, nearest: nil)
            }
        }
        (self.axes, self.seeds) = (axes, seeds)
    }
}
