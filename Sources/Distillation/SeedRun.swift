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

    /// What came of it.
    var record: DistillationRecord {
        DistillationRecord(cycles: cycles, coreSize: core?.stable.latents.count ?? 0, trials: trials)
    }
}

extension Array {
    /// One part after the other, of `size` elements and the last of what is left.
    func parts(of size: Int) -> [[Element]] {
        stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
    }
}
