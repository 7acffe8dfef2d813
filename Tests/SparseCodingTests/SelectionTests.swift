import LinearAlgebra
import TestSupport
import Testing

import SparseCoding

/// What streams through tiles, lanes and pruned lists against a full sort of the dense pre-activations.
///
/// Inputs and weights are small whole numbers: pre-activations are exact, so codes must be equal bit for bit, and ties
/// are everywhere.
@Suite struct SelectionTests {
    private struct Setting {
        var batch = 256
        var latents = 3000
        var core = 0
        var coreIsDense = true
        var k = 2.0
        var budget = BudgetScope.nonCore
        /// 1 gives some dozens of distinct values, 40 some ten thousand.
        var bound = 40
        var lanes = 2
        var slack: Int?
        var floor: Float?
    }

    private func sae(_ s: Setting) throws -> SparseAutoencoder {
        let layout = try PrefixLayout(groups: [s.latents / 4, s.latents - s.latents / 4], coreCount: s.core)
        let sae = SparseAutoencoder(dIn: 8, layout: layout, coreIsDense: s.coreIsDense)
        sae.encoder.assign(wholeMatrix(s.latents, 8, seed: 1, bound: s.bound))
        sae.encoderBias.assign(wholeMatrix(1, s.latents, seed: 2, bound: s.bound))
        return sae
    }

    /// Every positive pre-activation [B, F], sums in whole numbers.
    private func preactivations(_ x: Matrix, _ sae: SparseAutoencoder) -> Matrix {
        let result = Matrix(rows: x.rows, columns: sae.dSAE)
        for b in 0..<x.rows {
            for j in 0..<sae.dSAE {
                var sum = Int(sae.encoderBias[j])
                for c in 0..<8 { sum += Int(x[b, c]) * Int(sae.encoder[j, c]) }
                result[b, j] = Float(max(0, sum))
            }
        }
        return result
    }

    private func context(_ sae: SparseAutoencoder, _ batch: Int, k: Double) -> SelectionContext {
        SelectionContext(.train, of: sae, rows: batch, meanActive: k)
    }

    private struct Entry {
        var value: Float
        var row: Int
        var column: Int
    }

    /// The competing entries, largest first, ties by row and column.
    private func sorted(_ p: Matrix, rows: Range<Int>, from exempt: Int) -> [Entry] {
        var entries: [Entry] = []
        for b in rows {
            for j in exempt..<p.columns where p[b, j] > 0 { entries.append(Entry(value: p[b, j], row: b, column: j)) }
        }
        return entries.sorted { ($0.value, $1.row, $1.column) > ($1.value, $0.row, $0.column) }
    }

    private func expected(_ x: Matrix, _ sae: SparseAutoencoder, _ s: Setting, _ rule: any SparsityRule) -> (
        codes: Matrix, summary: SelectionSummary
    ) {
        let p = preactivations(x, sae)
        let exempt = s.coreIsDense ? s.core : 0
        let result = Matrix(rows: p.rows, columns: p.columns)
        var summary = SelectionSummary()
        for b in 0..<p.rows {
            for j in 0..<exempt where p[b, j] > 0 {
                result[b, j] = p[b, j]
                summary.coreEntries += 1
            }
        }
        var budget = Int(s.k * Double(p.rows))
        if s.budget == .total { budget = max(0, budget - summary.coreEntries) }
        let chosen: [Entry]
        switch rule.scope {
        case .batch: chosen = Array(sorted(p, rows: 0..<p.rows, from: exempt).prefix(budget))
        case .row:
            chosen = (0..<p.rows).flatMap { sorted(p, rows: $0..<($0 + 1), from: exempt).prefix(budget / p.rows) }
        case .all:
            let threshold = (rule as? FixedThreshold)?.threshold ?? 0
            chosen = sorted(p, rows: 0..<p.rows, from: exempt).filter { $0.value > threshold }
        }
        for entry in chosen { result[entry.row, entry.column] = entry.value }
        summary.selectedEntries = chosen.count
        summary.leastSelected = chosen.map(\.value).min()
        return (result, summary)
    }

    /// Runs a selection twice with one encoder (scratch is reused) and returns how often lists were pruned; `repeats` is how
    /// often a floor was too high.
    @discardableResult
    private func check(
        _ s: Setting, _ rule: any SparsityRule, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Int {
        var repeats = 0
        return try check(s, rule, &repeats, sourceLocation: sourceLocation)
    }

    private func check(
        _ s: Setting, _ rule: any SparsityRule, _ repeats: inout Int,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Int {
        let sae = try sae(s)
        let encoder = SparseEncoder(lanes: Lanes(count: s.lanes))
        if let slack = s.slack { encoder.pruningSlack = slack }
        encoder.forcedFloor = s.floor
        defer { repeats = encoder.repeatCount }
        let codes = SparseCodes()
        for seed: UInt64 in [3, 4] {
            let x = wholeMatrix(s.batch, 8, seed: seed, bound: s.bound)
            let summary = try encoder.select(
                x, with: sae, rule: rule, context(sae, s.batch, k: s.k), budget: s.budget, into: codes)
            let (wanted, wantedSummary) = expected(x, sae, s, rule)
            expectSame(codes.dense().values, wanted.values, "codes", sourceLocation: sourceLocation)
            #expect(codes.count == wanted.values.count { $0 != 0 }, sourceLocation: sourceLocation)
            #expect(summary == wantedSummary, sourceLocation: sourceLocation)
            for b in 0..<s.batch {
                let columns = codes.entries(ofRow: b).map { codes.columnIndices[$0] }
                #expect(
                    zip(columns, columns.dropFirst()).allSatisfy { $0 < $1 }, "row \(b)",
                    sourceLocation: sourceLocation)
            }
        }
        return encoder.pruningCount
    }

    @Test func batchTopKIsAFullSortWhereListsArePruned() throws {
        #expect(try check(Setting(batch: 512), NaiveBatchTopK()) > 0)
    }

    @Test(arguments: [1, 3]) func pruningAfterEveryTileChangesNothing(_ lanes: Int) throws {
        // Without slack every tile that brings a candidate prunes.
        var setting = Setting(batch: 300, latents: 2500, lanes: lanes, slack: 0)
        let often = try check(setting, NaiveBatchTopK())
        setting.slack = .max / 2
        let never = try check(setting, NaiveBatchTopK())
        #expect(often > 2 && never == 0)
    }

    @Test func tiesGoToTheLowerRowThenTheLowerColumn() throws {
        // 8 products of −1, 0, 1 and a bias: nine positive values, each of them tens of thousands of times.
        #expect(try check(Setting(bound: 1, slack: 1000), NaiveBatchTopK()) > 0)
        try check(Setting(k: 300, bound: 1), NaiveBatchTopK())
    }

    /// One lane, so that its list is cut to just what the batch may keep; a later tile then brings ties of lower rows.
    @Test(arguments: [0.25, 2, 30]) func tiesOfLaterTilesComeBeforeThoseThatACutKept(_ k: Double) throws {
        #expect(try check(Setting(k: k, bound: 1, lanes: 1, slack: 0), NaiveBatchTopK()) > 0)
    }

    @Test(arguments: [0, 5], BudgetScope.allCases) func aStartingFloorChangesNothing(_ core: Int, _ budget: BudgetScope)
        throws
    {
        var setting = Setting(core: core, k: 6, budget: budget)
        let sae = try sae(setting)
        // Both batches of `check` have their least selected value near this one.
        let p = preactivations(wholeMatrix(setting.batch, 8, seed: 3, bound: setting.bound), sae)
        let kept = sorted(p, rows: 0..<p.rows, from: core)[6 * setting.batch].value
        var repeats = 0
        for (floor, wanted) in [(0, 0...0), (kept / 2, 0...0), (kept, 0...2), (kept * 2, 2...2), (.infinity, 2...2)] {
            setting.floor = floor
            _ = try check(setting, NaiveBatchTopK(), &repeats)
            #expect(wanted.contains(repeats), "floor \(floor) of \(kept)")
        }
    }

    @Test func aStartingFloorEqualToTheLeastSelectedIsTooHigh() throws {
        // Nine values for tens of thousands of entries: the k-th largest and what ties with it are not above it.
        var setting = Setting(k: 300, bound: 1)
        let p = preactivations(wholeMatrix(setting.batch, 8, seed: 3, bound: 1), try sae(setting))
        let least = sorted(p, rows: 0..<p.rows, from: 0)[300 * setting.batch].value
        var repeats = 0
        setting.floor = least
        _ = try check(setting, NaiveBatchTopK(), &repeats)
        #expect(repeats == 2)
        setting.floor = least.nextDown
        _ = try check(setting, NaiveBatchTopK(), &repeats)
        #expect(repeats == 0)
    }

    @Test func theFloorFollowsTheBatchesAndIsSeldomTooHigh() throws {
        let setting = Setting(batch: 512, latents: 2000, k: 20)
        let sae = try sae(setting)
        let encoder = SparseEncoder(lanes: Lanes(count: 2))
        let codes = SparseCodes()
        func select(_ seed: UInt64, scale: Float) throws {
            let x = wholeMatrix(setting.batch, 8, seed: seed, bound: setting.bound)
            for i in 0..<x.count { x[i] *= scale }
            let summary = try encoder.select(
                x, with: sae, rule: NaiveBatchTopK(), context(sae, setting.batch, k: 20), budget: .nonCore, into: codes)
            #expect(summary.selectedEntries == 20 * setting.batch && codes.count == 20 * setting.batch)
        }
        for seed: UInt64 in 10..<20 { try select(seed, scale: 1) }
        #expect(encoder.repeatCount == 0)
        // Inputs of half the size: nothing reaches the floor, and the next batch knows.
        for seed: UInt64 in 20..<25 { try select(seed, scale: 0.5) }
        #expect(encoder.repeatCount == 1)
    }

    @Test(arguments: BudgetScope.allCases, [true, false])
    func aCoreIsKeptApartOrCompetes(_ budget: BudgetScope, _ isDense: Bool) throws {
        // The budget is larger than what the core uses (about half of 5 latents a token), so that `total` leaves some.
        let setting = Setting(core: 5, coreIsDense: isDense, k: 6, budget: budget, slack: 0)
        #expect(try check(setting, NaiveBatchTopK()) > 0)
    }

    @Test func aCoreThatUsesTheWholeTotalBudgetLeavesNothing() throws {
        let setting = Setting(core: 40, k: 2, budget: .total, slack: 0)
        try check(setting, NaiveBatchTopK())
    }

    @Test func aCoreWiderThanATileIsKeptApart() throws {
        try check(Setting(batch: 64, latents: 3000, core: 1500, k: 10), NaiveBatchTopK())
    }

    @Test(arguments: BudgetScope.allCases, [0, 5]) func rowsCompeteAlone(_ budget: BudgetScope, _ core: Int) throws {
        // More rows than one block, not a multiple of it: blocks are appended.
        try check(Setting(batch: 1100, latents: 700, core: core, k: 7, budget: budget), NaiveTopK())
        try check(Setting(batch: 40, latents: 700, core: core, k: 7, budget: budget, bound: 1), NaiveTopK())
    }

    @Test(arguments: [0, 5]) func aRuleThatLooksAtAllSeesAll(_ core: Int) throws {
        try check(Setting(batch: 1100, latents: 300, core: core), FixedThreshold(2000))
        try check(Setting(batch: 100, latents: 300, core: core), FixedThreshold(0))
        try check(Setting(batch: 100, latents: 300, core: core), FixedThreshold(.infinity))
    }

    @Test func aBatchOfOneTokenAndABudgetOfNothingWork() throws {
        try check(Setting(batch: 1, latents: 64, k: 3), NaiveBatchTopK())
        try check(Setting(batch: 3, latents: 64, k: 0.25), NaiveBatchTopK())
    }

    @Test func aRuleThatSelectsMoreThanItPromisedIsRefused() throws {
        final class Greedy: SparsityRule {
            let name = "greedy"
            let version = "0"
            let scope: SelectionScope
            init(_ scope: SelectionScope) { self.scope = scope }
            func upperCount(_ context: SelectionContext) -> Int { 3 }
            func select(
                from candidates: SparseCodes, _ context: SelectionContext,
                selected: UnsafeMutableBufferPointer<UInt8>
            ) { selected.update(repeating: 1) }
        }
        let sae = try sae(Setting(latents: 64, bound: 1))
        // Entries equal to the third largest are all shown to a rule over the batch, which is to say which of them belong.
        let x = wholeMatrix(64, 8, seed: 5, bound: 1)
        let positive = preactivations(x, sae).values.filter { $0 > 0 }.sorted(by: >)
        let tied = positive.count { $0 >= positive[2] }
        #expect(tied > 3)
        for (scope, selected, allowed) in [(SelectionScope.batch, tied, 3), (.row, positive.count, 3 * 64)] {
            #expect(
                message {
                    _ = try SparseEncoder(lanes: Lanes(count: 2)).select(
                        x, with: sae, rule: Greedy(scope), context(sae, 64, k: 2), budget: .nonCore,
                        into: SparseCodes())
                } == "sparsity rule greedy selected \(selected) entries after promising at most \(allowed); "
                    + "report this to its author")
        }
    }

    /// 1200 latents looked at of which all but `fired` turn out dead: the k largest of each row, with rows cut on the way.
    @Test(
        arguments: [
            // No row is ever cut; rows are cut and lose less than they keep beyond k; they lose more.
            (k: 700, margin: 64, fired: 10, cut: false, again: false),
            (k: 20, margin: 64, fired: 40, cut: true, again: false),
            (k: 20, margin: 3, fired: 600, cut: true, again: true),
            (k: 1, margin: 0, fired: 0, cut: true, again: false),
        ], [1, 40])
    func theLargestOfDeadLatentsArePickedUpOnTheWay(
        _ c: (k: Int, margin: Int, fired: Int, cut: Bool, again: Bool), bound: Int
    ) throws {
        let setting = Setting(batch: 1300, latents: 2400, bound: bound)
        let sae = try sae(setting)
        let encoder = SparseEncoder(lanes: Lanes(count: 2))
        let candidates = RowCandidates(lanes: Lanes(count: 2))
        candidates.margin = c.margin
        let silent = (0..<2400).filter { $0 % 2 == 1 }
        let dead = Array(silent.dropFirst(c.fired / 2).dropLast(c.fired - c.fired / 2))
        for seed: UInt64 in [3, 4] {
            let x = wholeMatrix(setting.batch, 8, seed: seed, bound: bound)
            candidates.begin(silent, of: 2400, rows: setting.batch, k: c.k)
            encoder.bringTiles(of: x, sae, to: candidates)
            #expect((candidates.cutRowCount > 0) == c.cut)
            let codes = SparseCodes()
            candidates.largest(c.k, among: dead, of: 2400, into: codes) {
                encoder.bringTiles(of: x, sae, to: candidates)
            }
            let p = preactivations(x, sae)
            let wanted = Matrix(rows: setting.batch, columns: 2400)
            for b in 0..<setting.batch {
                let order = dead.filter { p[b, $0] > 0 }.sorted { (p[b, $0], $1) > (p[b, $1], $0) }
                for j in order.prefix(c.k) { wanted[b, j] = p[b, j] }
            }
            expectSame(codes.dense().values, wanted.values, "codes")
        }
        #expect(candidates.repeatCount == (c.again ? 2 : 0))
    }

    /// Whatever a rule is shown, in blocks of rows or twice over, `beside` gets every tile once.
    @Test func aSelectionBringsEveryTileOnce() throws {
        let setting = Setting(batch: 1100, latents: 700, core: 5, k: 7)
        let sae = try sae(setting)
        let x = wholeMatrix(setting.batch, 8, seed: 3, bound: setting.bound)
        let looked = Array(100..<600)
        func largest(_ bring: (SparseEncoder, RowCandidates) throws -> Void) throws -> [Float] {
            let candidates = RowCandidates(lanes: Lanes(count: 2))
            candidates.begin(looked, of: 700, rows: setting.batch, k: 20)
            try bring(SparseEncoder(lanes: Lanes(count: 2)), candidates)
            let codes = SparseCodes()
            candidates.largest(20, among: looked, of: 700, into: codes) { Issue.record("no row is short") }
            return codes.dense().values
        }
        let wanted = try largest { $0.bringTiles(of: x, sae, to: $1) }
        let rules: [(any SparsityRule, Float?)] = [
            (NaiveBatchTopK(), nil), (NaiveBatchTopK(), .infinity), (NaiveTopK(), nil), (FixedThreshold(2000), nil),
        ]
        for (rule, floor) in rules {
            let found = try largest { encoder, candidates in
                encoder.forcedFloor = floor
                _ = try encoder.select(
                    x, with: sae, rule: rule, context(sae, setting.batch, k: 7), budget: .nonCore, beside: candidates,
                    into: SparseCodes())
                #expect((encoder.repeatCount > 0) == (floor != nil))
            }
            expectSame(found, wanted, rule.name)
        }
    }

    /// Latents that died together may be equal to the last bit: a row's room must not depend on how many tie.
    @Test func deadLatentsThatAllTieKeepTheLowerColumns() throws {
        let sae = try sae(Setting(latents: 2400))
        sae.encoder.fill(0)
        sae.encoderBias.fill(1)
        let candidates = RowCandidates(lanes: Lanes(count: 2))
        candidates.margin = 5
        let x = wholeMatrix(40, 8, seed: 3, bound: 40)
        candidates.begin(Array(0..<2400), of: 2400, rows: 40, k: 3)
        SparseEncoder(lanes: Lanes(count: 2)).bringTiles(of: x, sae, to: candidates)
        let codes = SparseCodes()
        candidates.largest(3, among: Array(2..<2400), of: 2400, into: codes) { Issue.record("no row is short") }
        #expect((0..<40).allSatisfy { codes.entries(ofRow: $0).map { codes.columnIndices[$0] } == [2, 3, 4] })
    }

    @Test func inferenceKeepsWhatExceedsTheThreshold() throws {
        let setting = Setting(batch: 100, latents: 1500, core: 5)
        let sae = try sae(setting)
        // A value that occurs: equal is not above.
        let x = wholeMatrix(100, 8, seed: 3, bound: 40)
        let p = preactivations(x, sae)
        let threshold = p.values.filter { $0 > 500 }.sorted()[1000]
        sae.inference = .threshold(threshold)
        let codes = SparseCodes()
        try SparseEncoder(lanes: Lanes(count: 3)).encode(x, with: sae, into: codes)
        for i in 0..<p.count where p[i] <= (i % 1500 < 5 ? 0 : threshold) { p[i] = 0 }
        expectSame(codes.dense().values, p.values)
        sae.inference = nil
        #expect(throws: SparseCodingError.thresholdUnset) {
            try SparseEncoder().encode(x, with: sae, into: codes)
        }
        #expect(throws: SparseCodingError.inputWidth(found: 9, wanted: 8)) {
            sae.inference = .threshold(1)
            try SparseEncoder().encode(Matrix(rows: 2, columns: 9), with: sae, into: codes)
        }
    }
}
