import LinearAlgebra

/// Which entries compete with each other for a place among the selected.
public enum SelectionScope: Int32, Sendable {
    /// Those of one token: TopK.
    case row = 1
    /// Those of the whole batch: BatchTopK.
    case batch = 2
    /// The rule looks at every positive pre-activation, whatever its rank: ReLU, JumpReLU.
    case all = 3
}

/// What a selection is for.
public enum SelectionMode: Int32, Sendable {
    /// A training step.
    case train = 1
    /// Measuring a threshold on fixed parameters.
    case calibrate = 2
    /// Applying a trained SAE.
    case infer = 3
}

/// What a sparsity rule is told about a selection.
public struct SelectionContext: @unchecked Sendable {
    /// What the selection is for.
    public var mode: SelectionMode
    /// Training step, counted from 0.
    public var step: Int
    /// All training steps, 0 if unknown.
    public var totalSteps: Int
    /// Tokens in the whole batch, of which the candidates may be a block of rows.
    public var batchRows: Int
    /// Row of the batch that row 0 of the candidates is.
    public var firstRow: Int
    /// Number of latents, dSAE.
    public var latentCount: Int
    /// Mean number of latents a token may keep, k.
    public var meanActive: Double
    /// Entries that may be selected in the batch (k·B, less what a dense core used).
    public var batchBudget: Int
    /// The core's latents.
    public var core: Range<Int>
    /// Whether core latents are exempt: then none of them is among the candidates and all of them are kept.
    public var coreIsExempt: Bool
    /// The learnable tensors [1, F] of a rule that has them, in their order.
    public var learnables: [Matrix] = []
    /// m_1 < … < m_n = F: where the groups of the SAE end.
    public var prefixWidths: [Int]
    /// θ [1, F] of a form that was calibrated, where it is applied.
    public var thresholds: Matrix?

    /// A selection among the latents of an SAE over a whole batch of `rows` tokens, of which k·B entries may be kept.
    public init(
        _ mode: SelectionMode, of sae: SparseAutoencoder, rows: Int, meanActive: Double, step: Int = 0,
        totalSteps: Int = 0
    ) {
        self.init(
            mode: mode, step: step, totalSteps: totalSteps, batchRows: rows, latentCount: sae.dSAE,
            meanActive: meanActive, batchBudget: Int((meanActive * Double(rows)).rounded(.down)),
            core: 0..<sae.layout.coreCount, coreIsExempt: !sae.exemptCore.isEmpty)
        prefixWidths = sae.layout.prefixes
        // A form without thresholds has none to tell.
        if mode == .infer { thresholds = try? sae.inferenceThresholds() }
    }

    /// A selection over a whole batch, of an SAE of one group.
    public init(
        mode: SelectionMode, step: Int = 0, totalSteps: Int = 0, batchRows: Int, firstRow: Int = 0, latentCount: Int,
        meanActive: Double, batchBudget: Int, core: Range<Int> = 0..<0, coreIsExempt: Bool = false
    ) {
        self.mode = mode
        self.step = step
        self.totalSteps = totalSteps
        self.batchRows = batchRows
        self.firstRow = firstRow
        self.latentCount = latentCount
        self.meanActive = meanActive
        self.batchBudget = batchBudget
        self.core = core
        self.coreIsExempt = coreIsExempt
        prefixWidths = [latentCount]
    }
}

/// Decides which positive pre-activations a token batch keeps.
///
/// The host never shows a rule the dense pre-activations: it streams tiles, keeps a superset of the
/// `upperCount` largest positive entries of each scope, and asks the rule to choose among those.
public protocol SparsityRule: AnyObject, Sendable {
    /// The rule's id, for records ("batchtopk").
    var name: String { get }
    /// Its version, for records.
    var version: String { get }
    /// Which entries compete.
    var scope: SelectionScope { get }
    /// The most entries the rule will select in one scope (one row, or the batch); ignored when the scope is `all`.
    func upperCount(_ context: SelectionContext) throws -> Int
    /// Sets `selected[e]` to 1 for every entry of `candidates` to keep, in CSR order; all are 0 at first.
    /// Ties go to the lower row, then to the lower column.
    func select(
        from candidates: SparseCodes, _ context: SelectionContext, selected: UnsafeMutableBufferPointer<UInt8>) throws
    /// Whether it always keeps just the `upperCount` largest of the candidates that it is shown, all of them if they
    /// are fewer: then a device may choose in its place.
    var keepsLargest: Bool { get }
    /// What the rule learns, if it does.
    var learning: (any SparsityRuleLearning)? { get }
    /// The form a trained SAE is used in, if it is not one threshold kept by the host.
    var inference: (any SparsityRuleInference)? { get }
}

extension SparsityRule {
    /// Most rules are asked.
    public var keepsLargest: Bool { false }
    /// Most rules learn nothing.
    public var learning: (any SparsityRuleLearning)? { nil }
    /// The host's running threshold.
    public var inference: (any SparsityRuleInference)? { nil }
}
