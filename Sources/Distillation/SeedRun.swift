/// How far a run is with one of its seeds.
final class SeedRun {
    /// 0 of the recipe's own seed.
    let repetition: Int
    /// SHA-256 of the last step's mark.
    var mark: String
    /// Those that are done.
    var cycles: [CycleRecord] = []
    /// Of the last of them.
    var core: Core?
    /// Those that are done, in the order of the recipe.
    var trials: [TrialRecord] = []

    /// - Parameter mark: SHA-256 of the activations' record.
    init(_ repetition: Int, after mark: String) { (self.repetition, self.mark) = (repetition, mark) }

    /// C*, once its cycles are done.
    var stableCore: Core {
        guard let core else { preconditionFailure("no cycle") }
        return core.stable
    }

    /// What came of it.
    var record: DistillationRecord {
        DistillationRecord(cycles: cycles, coreSize: stableCore.latents.count, trials: trials)
    }
}

extension Array {
    /// One part after the other, of `size` elements and the last of what is left.
    func parts(of size: Int) -> [[Element]] {
        stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
    }
}
