import Kernels
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

extension EncodingPass {
    /// Encodes a centred batch and lets `rule` choose, writing the kept codes [B, F].
    ///
    /// Latents of a dense core are kept wherever p > 0 and never shown to the rule; every other positive
    /// pre-activation that could be among the rule's upper count is. A budget of k·B entries is the rule's, less,
    /// under `BudgetScope.total`, what the core used.
    ///
    /// `beside` is brought every tile once.
    ///
    /// - Throws: what the rule throws, `SparseCodingError.ruleSelectedTooMany`, or `.overflowed` for an infinite pre-activation.
    package func select(
        _ centered: Matrix, with sae: SparseAutoencoder, rule: any SparsityRule, mode: SelectionMode, step: Int = 0,
        totalSteps: Int = 0, k: Double, budget: BudgetScope, beside: RowCandidates? = nil, into codes: SparseCodes
    ) throws -> SelectionSummary {
        let rowCount = centered.rows
        let exempt = sae.exemptCore.count
        let wholeBudget = Int((k * Double(rowCount)).rounded(.down))
        var context = SelectionContext(
            mode: mode, step: step, totalSteps: totalSteps, batchRows: rowCount, latentCount: sae.dSAE, meanActive: k,
            batchBudget: wholeBudget, core: 0..<sae.layout.coreCount, coreIsExempt: exempt > 0)
        var summary = SelectionSummary()
        if rule.scope == .batch {
            let limit = min(try rule.upperCount(context), rowCount * sae.dSAE)
            var floor = forcedFloor ?? startingFloor.value
            var allowed = 0
            var beside = beside
            while true {
                let reached = collect(
                    centered, sae.encoderPart, rows: 0..<rowCount, thresholds: nil, exempt: exempt, limit: limit,
                    floor: floor, beside: beside)
                beside = nil
                summary.coreEntries = core.reduce(0) { $0 + $1.count }
                if budget == .total { context.batchBudget = max(0, wholeBudget - summary.coreEntries) }
                allowed = min(limit, try rule.upperCount(context))
                if floor == 0 || foundCount >= allowed {
                    floor = reached
                    break
                }
                // Fewer above the floor than may be kept: the floor was a guess, and it was too high.
                floor = 0
                repeatCount += 1
            }
            let least = leastAllowed(allowed)
            startingFloor.follow(floor: floor, found: foundCount, least: least, kept: allowed)
            try choose(
                rule, context, rows: rowCount, sae.dSAE, allowed: allowed, atLeast: least, codes, &summary)
            return summary
        }
        if budget == .total && exempt > 0 {
            // Rows come in blocks, and a rule is told before the first one what the core leaves of the whole batch.
            collect(centered, sae.exemptPart, rows: 0..<rowCount, thresholds: nil, exempt: exempt, limit: nil)
            context.batchBudget = max(0, wholeBudget - core.reduce(0) { $0 + $1.count })
        }
        // Row by row every latent competes with few others, and a rule that looks at all of them sees all of them:
        // both get whole rows, a block at a time.
        codes.reset(rows: rowCount, columns: sae.dSAE, capacity: 0)
        let block = SparseCodes()
        for start in stride(from: 0, to: rowCount, by: Self.blockRows) {
            let rows = start..<min(start + Self.blockRows, rowCount)
            collect(
                centered, sae.encoderPart, rows: rows, thresholds: nil, exempt: exempt, limit: nil, beside: beside)
            summary.coreEntries += core.reduce(0) { $0 + $1.count }
            context.firstRow = start
            let allowed = rule.scope == .row ? min(try rule.upperCount(context), sae.dSAE) * rows.count : Int.max
            try choose(rule, context, rows: rows.count, sae.dSAE, allowed: allowed, atLeast: 0, block, &summary)
            codes.append(block, atRow: start)
        }
        return summary
    }

    private static let blockRows = 512

    private var foundCount: Int { found.reduce(0) { $0 + $1.count } }

    /// The `allowed`-th largest of all that was found, 0 if there are not more, infinite if none may be kept. A rule sees
    /// what is not below it, and says itself which of the entries that equal it belong.
    private func leastAllowed(_ allowed: Int) -> Float {
        guard allowed > 0 else { return .infinity }
        return foundCount > allowed ? lanes.rankThreshold(found.map(\.found), allowed).value : 0
    }

    /// As `select` for a rule that learns: `codes` hold the core's entries and every candidate, those above the floors,
    /// with f = 0 where it was not selected, since its gradient is wanted too. `places[e]` is where candidate e went.
    ///
    /// - Throws: as `select`.
    func selectLearned(
        _ centered: Matrix, with sae: SparseAutoencoder, rule: any SparsityRule, _ learned: LearnedTensors,
        _ context: SelectionContext, beside: RowCandidates? = nil, into codes: SparseCodes, places: inout [Int]
    ) throws -> SelectionSummary {
        let exempt = sae.exemptCore.count
        var summary = SelectionSummary()
        try learned.updateFloors(context)
        for j in 0..<sae.dSAE where !(learned.floors[j] > 0) || j < exempt { learned.floors[j] = 0 }
        collect(
            centered, sae.encoderPart, rows: 0..<centered.rows, thresholds: learned.floors, exempt: exempt, limit: nil,
            beside: beside)
        summary.coreEntries = core.reduce(0) { $0 + $1.count }
        candidates.assemble(found, rows: centered.rows, columns: sae.dSAE, lanes: lanes)
        try mark(rule, context, allowed: .max, &summary)
        coreCodes.assemble(core, rows: centered.rows, columns: sae.dSAE, lanes: lanes)
        if places.count < candidates.count { places = [Int](repeating: 0, count: candidates.count * 5 / 4) }
        places.withUnsafeMutableBufferPointer { merge(into: codes, places: $0.baseAddress) }
        return summary
    }

    /// Lets the rule choose among what `found` holds, not below `least`, and merges the result with the core's entries.
    private func choose(
        _ rule: any SparsityRule, _ context: SelectionContext, rows: Int, _ latents: Int, allowed: Int,
        atLeast least: Float, _ codes: SparseCodes, _ summary: inout SelectionSummary
    ) throws {
        candidates.assemble(found, rows: rows, columns: latents, atLeast: least, lanes: lanes)
        try mark(rule, context, allowed: allowed, &summary)
        coreCodes.assemble(core, rows: rows, columns: latents, lanes: lanes)
        merge(into: codes, places: nil)
    }

    /// Lets the rule mark the candidates it keeps.
    private func mark(
        _ rule: any SparsityRule, _ context: SelectionContext, allowed: Int, _ summary: inout SelectionSummary
    ) throws {
        let count = candidates.count
        if kernels.maximum(candidates.values, count) == .infinity {
            let e = (0..<count).first { candidates.values[$0] == .infinity }!
            throw SparseCodingError.overflowed(step: context.step, latent: Int(candidates.columnIndices[e]))
        }
        if selected.count < count { selected = [UInt8](repeating: 0, count: count + count / 4) }
        var kept = 0
        try selected.withUnsafeMutableBufferPointer { buffer in
            let flags = UnsafeMutableBufferPointer(rebasing: buffer[0..<count])
            flags.update(repeating: 0)
            try rule.select(from: candidates, context, selected: flags)
            var least = Float.infinity
            for e in 0..<count where flags[e] != 0 {
                kept += 1
                least = min(least, candidates.values[e])
            }
            if kept > 0 { summary.leastSelected = min(summary.leastSelected ?? .infinity, least) }
        }
        guard kept <= allowed else {
            throw SparseCodingError.ruleSelectedTooMany(rule: rule.name, selected: kept, allowed: allowed)
        }
        summary.selectedEntries += kept
    }

    /// Writes, row by row, the core's entries and the selected candidates. With `places`, all candidates, those not
    /// selected as 0, and where each went.
    private func merge(into codes: SparseCodes, places: UnsafeMutablePointer<Int>?) {
        let rows = candidates.rows
        codes.reset(rows: rows, columns: candidates.columns, capacity: 0)
        nonisolated(unsafe) let places = places
        selected.withUnsafeBufferPointer { selected in
            nonisolated(unsafe) let selected = selected.baseAddress!
            lanes.forRanges(rows) { _, range in
                for r in range {
                    let entries = candidates.entries(ofRow: r)
                    var kept = places == nil ? 0 : entries.count
                    if places == nil { for e in entries { kept += Int(selected[e]) } }
                    codes.rowOffsets[r + 1] = Int64(kept + coreCodes.entries(ofRow: r).count)
                }
            }
            codes.sumRowCounts()
            lanes.forRanges(rows) { _, range in
                for r in range {
                    var at = Int(codes.rowOffsets[r])
                    func write(_ column: Int32, _ value: Float) {
                        codes.columnIndices[at] = column
                        codes.values[at] = value
                        at += 1
                    }
                    // Exempt latents come first in a row because the core is latents 0..<c.
                    for e in coreCodes.entries(ofRow: r) { write(coreCodes.columnIndices[e], coreCodes.values[e]) }
                    for e in candidates.entries(ofRow: r) {
                        let isSelected = selected[e] != 0
                        if let places { places[e] = at } else if !isSelected { continue }
                        write(candidates.columnIndices[e], isSelected ? candidates.values[e] : 0)
                    }
                }
            }
        }
    }
}

extension SparseCodes {
    /// Adds the rows of `block` as rows `first...`, which must be the next ones to fill.
    func append(_ block: SparseCodes, atRow first: Int) {
        let base = Int(rowOffsets[first])
        // `reserve` keeps what the last row's offset covers.
        rowOffsets[rows] = Int64(base)
        reserve(base + block.count)
        columnIndices.advanced(by: base).update(from: block.columnIndices, count: block.count)
        values.advanced(by: base).update(from: block.values, count: block.count)
        for r in 0..<block.rows { rowOffsets[first + r + 1] = Int64(base) + block.rowOffsets[r + 1] }
        for r in (first + block.rows)..<max(rows, first + block.rows) { rowOffsets[r + 1] = Int64(base + block.count) }
    }
}
