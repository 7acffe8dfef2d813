import LinearAlgebra

/// What a latent may use of the batch's budget when there is a dense core.
public enum BudgetScope: String, Sendable, Codable, CaseIterable {
    /// The non-core keeps k·B entries whatever the core does.
    case nonCore = "non-core"
    /// The non-core keeps what the core leaves of k·B, so that the total L0 is k.
    case total
}

/// What a selection kept.
public struct SelectionSummary: Sendable, Equatable {
    /// Entries of exempt core latents (p > 0).
    public var coreEntries = 0
    /// Entries the rule selected.
    public var selectedEntries = 0
    /// The smallest selected value, nil if the rule selected nothing.
    public var leastSelected: Float?

    public init() {}
}

extension SparseEncoder {
    /// A selection under way.
    private struct Selection {
        /// x − b_dec [B, D].
        let centered: Matrix
        let sae: SparseAutoencoder
        let rule: any SparsityRule
        let budget: BudgetScope
        /// What the rule is told: its budget is the whole one at first.
        var context: SelectionContext
        /// k·B entries, the core's included.
        let wholeBudget: Int
        /// What was kept so far.
        var summary = SelectionSummary()
        /// Entries that were found last, on all ranks.
        var found = 0

        init(
            _ centered: Matrix, _ sae: SparseAutoencoder, _ rule: any SparsityRule, _ context: SelectionContext,
            _ budget: BudgetScope
        ) {
            (self.centered, self.sae, self.rule, self.context) = (centered, sae, rule, context)
            self.budget = budget
            wholeBudget = context.batchBudget
        }

        /// Latents below this are kept and not shown to the rule.
        var exempt: Int { sae.exemptCore.count }

        /// Under a total budget, leaves the rule what the core's entries do.
        mutating func leave(core entries: Int) {
            if budget == .total { context.batchBudget = max(0, wholeBudget - entries) }
        }
    }

    /// Encodes a centred batch and lets `rule` choose, writing the kept codes [B, F].
    ///
    /// Latents of a dense core are kept wherever p > 0 and never shown to the rule; every other positive
    /// pre-activation that could be among the rule's upper count is. The context's budget is the rule's, less,
    /// under `BudgetScope.total`, what the core used.
    ///
    /// `beside` is brought every tile once.
    ///
    /// - Throws: what the rule throws, `SparseCodingError.ruleSelectedTooMany`, or `.overflowed`
    ///   for an infinite pre-activation.
    package func select(
        _ centered: Matrix, with sae: SparseAutoencoder, rule: any SparsityRule, _ context: SelectionContext,
        budget: BudgetScope, beside: RowCandidates? = nil, into codes: SparseCodes
    ) throws -> SelectionSummary {
        var selection = Selection(centered, sae, rule, peers?.whole(context) ?? context, budget)
        switch rule.scope {
        case .batch: try selectOverBatch(&selection, beside, into: codes)
        case .row, .all: try selectByRows(&selection, beside, into: codes)
        }
        return selection.summary
    }

    // MARK: Over the batch

    private func selectOverBatch(
        _ selection: inout Selection, _ beside: RowCandidates?, into codes: SparseCodes
    ) throws {
        let (rows, latents) = (selection.centered.rows, selection.sae.dSAE)
        let (allowed, floor) = try collectEnough(&selection, beside)
        let least = try choose(
            selection.rule, selection.context, rows: rows, latents, allowed: allowed, codes, &selection.summary)
        startingFloor.follow(floor: floor, found: selection.found, least: least, kept: allowed)
    }

    /// Collects candidates above the floor that the batches before suggest, and, where that was too high to leave as
    /// many as the rule may keep, all over again above 0. Returns how many it may keep and the floor that was reached.
    private func collectEnough(
        _ selection: inout Selection, _ beside: RowCandidates?
    ) throws -> (allowed: Int, floor: Float) {
        // More than this the rule cannot keep whatever the core leaves.
        let limit = min(
            try upperCount(of: selection.rule, selection.context),
            selection.centered.rows * selection.context.latentCount)
        let guess = forcedFloor ?? startingFloor.value
        let first = try collect(&selection, limit: limit, floor: guess, beside)
        if guess == 0 || selection.found >= first.allowed { return first }
        repeatCount += 1
        return try collect(&selection, limit: limit, floor: 0, nil)
    }

    private func collect(
        _ selection: inout Selection, limit: Int, floor: Float, _ beside: RowCandidates?
    ) throws -> (allowed: Int, floor: Float) {
        let reached = collect(
            selection.centered, selection.sae.encoderPart, rows: 0..<selection.centered.rows, thresholds: nil,
            exempt: selection.exempt, limit: limit, floor: floor, beside: beside)
        let totals = try totals(floor: reached)
        selection.found = totals.found
        selection.summary.coreEntries = totals.core
        selection.leave(core: totals.core)
        return (min(limit, try upperCount(of: selection.rule, selection.context)), totals.floor)
    }

    /// What the rule keeps at most, which rank 0 asks it.
    package func upperCount(of rule: any SparsityRule, _ context: SelectionContext) throws -> Int {
        func ask() throws -> Int { try rule.upperCount(context) }
        return try peers.map { try $0.ask(ask) } ?? ask()
    }

    /// Entries found among the latents that compete and among those that do not, and the largest floor, on all ranks.
    package func totals(found: Int, core: Int, floor: Float = 0) throws -> (found: Int, core: Int, floor: Float) {
        guard let peers else { return (found, core, floor) }
        let all = try peers.group.everyone([Double(found), Double(core), Double(floor)])
        return (
            all.reduce(0) { $0 + Int($1[0]) }, all.reduce(0) { $0 + Int($1[1]) }, Float(all.map { $0[2] }.max() ?? 0)
        )
    }

    private func totals(floor: Float) throws -> (found: Int, core: Int, floor: Float) {
        try totals(found: foundCount, core: coreCount, floor: floor)
    }

    // MARK: Row by row

    /// Row by row every latent competes with few others, and a rule that looks at all of them sees all of them: both
    /// get whole rows, a block at a time.
    private func selectByRows(
        _ selection: inout Selection, _ beside: RowCandidates?, into codes: SparseCodes
    ) throws {
        let (centered, sae, rule) = (selection.centered, selection.sae, selection.rule)
        if selection.budget == .total && selection.exempt > 0 {
            // A rule is told before the first block what the core leaves of the whole batch.
            due?.complete()
            collect(
                centered, sae.exemptPart, rows: 0..<centered.rows, thresholds: nil, exempt: selection.exempt, limit: nil
            )
            selection.leave(core: try totals(floor: 0).core)
        }
        codes.reset(rows: centered.rows, columns: sae.dSAE, capacity: 0)
        let block = SparseCodes()
        for start in stride(from: 0, to: centered.rows, by: Self.blockRows) {
            let rows = start..<min(start + Self.blockRows, centered.rows)
            collect(
                centered, sae.encoderPart, rows: rows, thresholds: nil, exempt: selection.exempt, limit: nil,
                beside: beside)
            selection.summary.coreEntries += try totals(floor: 0).core
            selection.context.firstRow = start
            let allowed =
                rule.scope == .row
                ? min(try upperCount(of: rule, selection.context), selection.context.latentCount) * rows.count : Int.max
            try choose(
                rule, selection.context, rows: rows.count, sae.dSAE, allowed: allowed, showsAll: true, block,
                &selection.summary)
            codes.append(block, atRow: start)
        }
    }

    private static let blockRows = 512

    /// Entries found among the latents that compete, and among those that do not.
    private var foundCount: Int { found.reduce(0) { $0 + $1.count } }
    private var coreCount: Int { core.reduce(0) { $0 + $1.count } }

    /// The `allowed`-th largest of some values, 0 if there are not more, infinite if none may be kept. A rule
    /// sees what is not below it, and says itself which of the entries that equal it belong.
    func leastAllowed(_ allowed: Int, of values: [UnsafeBufferPointer<Float>]) -> Float {
        guard allowed > 0 else { return .infinity }
        return values.reduce(0) { $0 + $1.count } > allowed ? lanes.rankThreshold(values, allowed).value : 0
    }

    // MARK: For a rule that learns

    /// As `select` for a rule that learns: `codes` hold the core's entries and every candidate, those above the floors,
    /// with f = 0 where it was not selected, since its gradient is wanted too. `places` keep where each went.
    ///
    /// - Throws: as `select`.
    func selectLearned(
        _ centered: Matrix, with sae: SparseAutoencoder, rule: any SparsityRule, _ learned: any StepLearning,
        _ context: SelectionContext, beside: RowCandidates? = nil, places: CandidatePlaces, into codes: SparseCodes
    ) throws -> SelectionSummary {
        let exempt = sae.exemptCore.count, context = peers?.whole(context) ?? context
        var summary = SelectionSummary()
        try learned.updateFloors(context, exempt: exempt)
        collect(
            centered, sae.encoderPart, rows: 0..<centered.rows, thresholds: learned.floors, exempt: exempt, limit: nil,
            beside: beside)
        summary.coreEntries = try totals(floor: 0).core
        candidates.assemble(found, rows: centered.rows, columns: sae.dSAE, lanes: lanes)
        try mark(rule, context, allowed: .max, showsAll: true, keeping: true, &summary)
        coreCodes.assemble(core, rows: centered.rows, columns: sae.dSAE, lanes: lanes)
        places.withPlaces(candidates.count) { merge(into: codes, places: $0) }
        return summary
    }
}
