import LinearAlgebra
import SparseCoding

// A rule may keep fewer than its upper count: the headers promise a most and no least, so that one that also asks for a
// value above some floor is legal. That it keeps half of what it could is not found here; that it
// keeps nothing, ever, is.
extension PluginCheck {
    /// What every rule does, whatever it keeps.
    static let selectionChecks = [
        PluginCheck(
            id: "selection", rules: ["DMSAE-RULE-01", "DMSAE-RULE-03"],
            promise: "it marks with 0 and 1, no more than its upper count, whatever the sizes, in training and after it"
        ) { subject in
            let rule = try subject.rule()
            for (rows, latents, perRow, k, budget) in [
                (40, 60, 20, 4.0, nil), (2, 1, 1, 1, nil), (3, 500, 200, 64, nil), (40, 60, 20, 0.5, nil),
                (40, 60, 2, 30, nil), (40, 60, 20, 4, 0),
            ] as [(Int, Int, Int, Double, Int?)] {
                let selection = Selection(
                    seed: subject.seed, rows: rows, latents: latents, perRow: perRow, k: k, budget: budget)
                for mode in [SelectionMode.train, .calibrate, .infer] { _ = try selection.marks(rule, mode) }
            }
        },
        PluginCheck(
            id: "selection-again", rules: ["DMSAE-RULE-05"],
            promise: "it depends on what it is given, not on earlier calls"
        ) { subject in
            let rule = try subject.rule()
            let selection = Selection(seed: subject.seed)
            let first = try selection.marks(rule)
            // As many candidates, so that they lie where the first lay.
            for other in 1..<4 {
                let next = Selection(seed: subject.seed &+ UInt64(other), step: other)
                let marks = try next.marks(rule)
                try expect(marks == (try next.marks(subject.rule())), "after another call it marks other entries")
            }
            try expect(try selection.marks(rule) == first, "after other calls it marks other entries")
            try expect(try selection.marks(subject.rule()) == first, "in another process it marks other entries")
        },
        PluginCheck(
            id: "upper-count", rules: ["DMSAE-RULE-01"],
            promise: "its upper count depends on the context alone, and not on which rows of the batch are asked about"
        ) { subject in
            let rule = try subject.rule()
            try applies(rule.scope != .all, "it is not asked for one")
            var context = Selection(seed: subject.seed).context(rule)
            let first = try rule.upperCount(context)
            _ = try rule.upperCount(Selection(seed: subject.seed, k: 9, step: 90).context(rule))
            for row in [0, 8] {
                context.firstRow = row
                let again = try rule.upperCount(context)
                try expect(again == first, "it is \(first), and \(again) when asked again from row \(row)")
            }
        },
        PluginCheck(
            id: "selection-sorted", rules: ["DMSAE-RULE-04", "DMSAE-RULE-05"],
            promise: "what it keeps is among its upper count largest, equal ones in the order of rows, then columns"
        ) { subject in
            let rule = try subject.rule()
            try applies(rule.scope != .all, "it looks at all candidates")
            // With more latents than 16 bits count, too.
            for (areEqual, latents) in [(false, 60), (true, 60), (true, 70_000)] {
                let selection = Selection(seed: subject.seed, latents: latents, areEqual: areEqual)
                let marks = try selection.marks(rule), isLargest = try selection.largest(rule)
                guard let e = marks.indices.first(where: { marks[$0] == 1 && !isLargest[$0] }) else { continue }
                let (row, latent) = selection.candidates.position(of: e)
                throw Broken(
                    reason: "it keeps \(selection.candidates.values[e]) of token \(row), latent \(latent), which "
                        + (areEqual ? "comes after others as large" : "is not among the largest"))
            }
        },
        PluginCheck(
            id: "selection-largest", rules: ["DMSAE-RULE-05", "DMSAE-RULE-02"],
            promise: "candidates below its upper count largest do not matter", after: ["selection-sorted"]
        ) { subject in
            let rule = try subject.rule()
            try applies(rule.scope != .all, "it looks at all candidates")
            let whole = Selection(seed: subject.seed)
            let marks = try whole.marks(rule), isLargest = try whole.largest(rule)
            let (fewer, entries) = whole.part(rows: 0..<whole.candidates.rows) { isLargest[$0] }
            try applies(entries.count < marks.count, "its upper count takes in every candidate")
            try expect(
                try fewer.marks(rule) == entries.map { marks[$0] },
                "without the smaller candidates it keeps others among the rest")
        },
        PluginCheck(
            id: "selection-blocks", rules: ["DMSAE-RULE-05", "DMSAE-RULE-06"],
            promise: "rows that come in blocks are treated as those that come together"
        ) { subject in
            let rule = try subject.rule()
            try applies(rule.scope != .batch, "its candidates come in one call")
            let whole = Selection(seed: subject.seed)
            let marks = try whole.marks(rule)
            for rows in [0..<13, 13..<14, 14..<40] {
                let (block, entries) = whole.part(rows: rows)
                try expect(
                    try block.marks(rule) == entries.map { marks[$0] },
                    "of rows \(rows.lowerBound) to \(rows.upperBound - 1) alone it keeps others")
            }
        },
        PluginCheck(
            id: "selection-empty", rules: [],
            promise: "of positive candidates, small and large, early and late, it keeps one at least"
        ) { subject in
            let rule = try subject.rule()
            for scale: Float in [1, 1e-3, 1e3, 1e6] {
                for step in [0, 99] {
                    let selection = Selection(seed: subject.seed, step: step)
                    for e in 0..<selection.candidates.count { selection.candidates.values[e] *= scale }
                    if try selection.marks(rule).contains(1) { return }
                }
            }
            throw Broken(reason: "it kept nothing in eight batches; an SAE under it would have no active latent")
        },
    ]
}
