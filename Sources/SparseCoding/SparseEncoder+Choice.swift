import Kernels
import LinearAlgebra

extension SparseEncoder {
    /// Lets the rule choose among what `found` holds, of which it is shown no more than `allowed` and their equals unless it `showsAll`, and
    /// merges the result with the core's entries. Returns the value below which nothing was shown.
    @discardableResult
    func choose(
        _ rule: any SparsityRule, _ context: SelectionContext, rows: Int, _ latents: Int, allowed: Int,
        showsAll: Bool = false, _ codes: SparseCodes, _ summary: inout SelectionSummary
    ) throws -> Float {
        // What is not among as many of a rank's own is not among those of all.
        let own = showsAll ? 0 : leastAllowed(allowed, of: found.map(\.found))
        candidates.assemble(found, rows: rows, columns: latents, atLeast: own, lanes: lanes)
        let before = summary.selectedEntries
        let least = try mark(rule, context, allowed: allowed, showsAll: showsAll, shown: own, &summary)
        // Usually no two values tie at the bound, and a rule keeps just what it was shown.
        if peers == nil && summary.selectedEntries - before == candidates.count
            && core.allSatisfy({ $0.count == 0 })
        {
            codes.exchange(with: candidates)
            return least
        }
        coreCodes.assemble(core, rows: rows, columns: latents, lanes: lanes)
        merge(into: codes, places: nil)
        return least
    }

    /// Lets the rule mark the `candidates` it keeps, which are not below `own`; among ranks those of all, of which it is shown no more than
    /// `allowed` and their equals unless it `showsAll`. Returns the value below which nothing was shown.
    @discardableResult
    package func mark(
        _ rule: any SparsityRule, _ context: SelectionContext, allowed: Int, showsAll: Bool, shown own: Float = 0,
        keeping: Bool = false, _ summary: inout SelectionSummary
    ) throws -> Float {
        if let peers {
            var least: Float = 0
            let numbers = try peers.choose(
                candidates, marks: &selected, count: 3, keeping: keeping,
                least: {
                    least = showsAll ? 0 : leastAllowed(allowed, of: [$0])
                    return least
                }
            ) { all, flags in
                let choice = try self.choice(of: rule, context, among: all, allowed: allowed, flags)
                return [Double(choice.kept), Double(choice.least), Double(least)]
            }
            summary.add(Int(numbers[0]), least: Float(numbers[1]))
            return Float(numbers[2])
        }
        let count = candidates.count
        if selected.count < count { selected = [UInt8](repeating: 0, count: count + count / 4) }
        let choice = try selected.withUnsafeMutableBufferPointer { buffer in
            let flags = UnsafeMutableBufferPointer(rebasing: buffer[0..<count])
            flags.update(repeating: 0)
            return try self.choice(of: rule, context, among: candidates, allowed: allowed, flags)
        }
        summary.add(choice.kept, least: choice.least)
        return own
    }

    /// How many of some candidates the rule keeps, and the smallest of them, infinite if there is none.
    private func choice(
        of rule: any SparsityRule, _ context: SelectionContext, among candidates: SparseCodes, allowed: Int,
        _ flags: UnsafeMutableBufferPointer<UInt8>
    ) throws -> (kept: Int, least: Float) {
        let count = candidates.count
        if kernels.maximum(candidates.values, count) == .infinity {
            let e = (0..<count).first { candidates.values[$0] == .infinity }!
            throw SparseCodingError.overflowed(step: context.step, latent: Int(candidates.columnIndices[e]))
        }
        try rule.select(from: candidates, context, selected: flags)
        var least = Float.infinity
        let kept = flags.baseAddress.map { kernels.countMarked(candidates.values, $0, count, &least) } ?? 0
        guard kept <= allowed else {
            throw SparseCodingError.ruleSelectedTooMany(rule: rule.name, selected: kept, allowed: allowed)
        }
        return (kept, least)
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

extension SelectionSummary {
    /// Takes in what was kept of some candidates.
    fileprivate mutating func add(_ kept: Int, least: Float) {
        selectedEntries += kept
        if kept > 0 { leastSelected = min(leastSelected ?? .infinity, least) }
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
