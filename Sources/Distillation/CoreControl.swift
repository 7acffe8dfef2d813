import LinearAlgebra
import SparseCoding

/// What a final SAE with the core is held against, beside the plain one: as many frozen latents, chosen in another way. What a core
/// owes to its choice and not to being frozen.
public enum CoreControl: String, CaseIterable, Sendable {
    /// Drawn among the latents of cycle 0 that were not selected there.
    case random

    /// What tables and figures call it.
    public var title: String {
        switch self {
        case .random: "random core"
        }
    }

    /// How its latents were chosen, after "frozen".
    public var choice: String {
        switch self {
        case .random: "at random"
        }
    }

    /// Whether a recipe asks for it.
    func isAsked(by recipe: Recipe) -> Bool {
        switch self {
        case .random: recipe.randomCore
        }
    }

    /// So many of its latents, to be frozen as the core is.
    ///
    /// - Throws: what reading the cycles of the run throws.
    func core(_ count: Int, of run: RunFolder, _ recipe: Recipe) throws -> FrozenCore {
        switch self {
        case .random: try Self.drawn(count, of: run, recipe)
        }
    }

    /// From cycle 0's candidates as far as they last, then from its other latents.
    private static func drawn(_ count: Int, of run: RunFolder, _ recipe: Recipe) throws -> FrozenCore {
        let folder = run.path + "/cycle-0"
        let selected = Set(try Core.read(folder + "/core.json", width: recipe.width).latents.map(\.index))
        let sae = try SAEFolder.read(folder + "/sae").sae
        let order = CounterRandom(seed: UInt64(recipe.seed), purpose: .randomCore).permutation(sae.dSAE).map { Int($0) }
        let innermost = sae.layout.innermost
        let drawn = (order.filter { $0 < innermost } + order.filter { $0 >= innermost })
            .filter { !selected.contains($0) }.prefix(count)
        let rows = Matrix(rows: drawn.count, columns: sae.dIn)
        for (i, j) in drawn.enumerated() { rows.row(i).update(from: sae.encoder.row(j), count: sae.dIn) }
        return FrozenCore(
            encoder: rows, biases: Matrix(vector: drawn.map { sae.encoderBias[$0] }),
            mode: recipe.resolvedFinalCoreMode, recipe)
    }
}

extension FinalRecord {
    /// The SAE of a control; nil if it was not asked for.
    public subscript(control: CoreControl) -> SAERecord? {
        get {
            switch control {
            case .random: random
            }
        }
        set {
            switch control {
            case .random: random = newValue
            }
        }
    }

    /// The controls that were asked for.
    public var controls: [(control: CoreControl, record: SAERecord)] {
        CoreControl.allCases.compactMap { control in self[control].map { (control, $0) } }
    }

    /// Its SAEs with what they are called, in the order of tables.
    public var named: [(record: SAERecord, name: String)] {
        [(dmsae, "DMSAE"), (baseline, "baseline")] + controls.map { ($0.record, $0.control.title) }
    }
}
