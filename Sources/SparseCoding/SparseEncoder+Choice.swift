import Kernels
import LinearAlgebra

extension SparseEncoder {
    /// Lets the rule choose among what `found` holds, not below `least`, and merges the result with the core's entries.
    func choose(
        _ rule: any SparsityRule, _ context: SelectionContext, rows: Int, _ latents: Int, allowed: Int,
        atLeast least: Float, _ codes: SparseCodes, _ summary: inout SelectionSummary
    ) throws {
        candidates.assemble(found, rows: rows, columns: latents, atLeast: least, lanes: lanes)
        try mark(rule, context, allowed: allowed, &summary)
        coreCodes.assemble(core, rows: rows, columns: latents, lanes: lanes)
        merge(into: codes, places: nil)
    }

    /// Lets the rule mark the `candidates` it keeps.
    package func mark(
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
    func merge(into codes: SparseCodes, places: UnsafeMutablePointer<Int>?) {
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
