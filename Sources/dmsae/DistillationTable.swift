import Attribution
import Distillation
import TensorFiles

/// What `distill` prints: a line per cycle, then the final core and the comparison.
enum DistillationTable {
    static func header(hasSeeds: Bool) -> String {
        row(
            (hasSeeds ? ["seed"] : [])
                + [
                    "cycle", "core", "carried", "Jaccard", "coverage", "expl. var.", "L0", "L0 core", "CE score",
                    "dead",
                ])
    }

    static func line(_ record: CycleRecord, seed: Int?) -> String {
        let e = record.sae.evaluation
        return row(
            (seed.map { ["\($0)"] } ?? []) + [
                "\(record.cycle)", "\(record.coreSize)/\(record.candidates)",
                record.sae.frozenCore > 0 ? "\(record.carriedOver)/\(record.sae.frozenCore)" : "-",
                record.jaccard.map { decimals($0, 3) } ?? "-", decimals(record.coverage, 3),
                decimals(e.explained_variance, 3), decimals(e.l0, 1), decimals(e.l0_core, 1),
                decimals(e.ce_loss_score, 3), "\(record.sae.dead)/\(record.sae.width)",
            ])
    }

    /// - Parameter records: one a seed.
    static func ending(_ records: [DistillationRecord], folder: String) -> String {
        let sizes = Spread(records.map { Double($0.coreSize) }).text(0, decimals)
        var text = "\nfinal core: \(sizes) latents that the last two cycles both selected "
        text += "(\(folder)/\(records.count > 1 ? "seed-*/" : "")final/core.json)\n\n"
        let table = TrialTable(records.map(\.trials))
        text += lines(table).joined(separator: "\n") + "\n"
        if records.count > 1 {
            text +=
                (["\nMeans, and from the least to the largest of \(records.count) seeds."] + table.findings()).joined(
                    separator: "\n") + "\n"
        }
        if let e = records.first?.trials.first?.sae.evaluation {
            text += "\nThe model's own loss is \(decimals(e.ce_loss_without_sae, 3)) nats per token, "
            text += "\(decimals(e.ce_loss_with_ablation, 3)) with its residual stream zeroed.\n"
        }
        return text
    }

    /// A row a trial. What is the same in all of them is left out; Δ CE is the CE score less that of the first trial with the distilled
    /// core at the same k, seed by seed.
    private static func lines(_ trials: TrialTable) -> [String] {
        let hasTokens = trials.differ(\.tokens), hasSeed = trials.differ(\.seed)
        let hasDifferences = trials.rows.contains { trials.difference($0) != nil }
        var table = TextTable(
            [("k", 4), ("SAE", 8), ("core", 12)] + (hasTokens ? [("tokens", 8)] : []) + (hasSeed ? [("seed", 4)] : [])
                + [("expl. var.", 10), ("cosine", 6), ("L0", 6), ("L0 core", 7), ("CE score", 8)]
                + (hasDifferences ? [("Δ CE", 6)] : []) + [("CE loss", 7), ("dead", 8)])
        for row in trials.rows {
            func shown(_ places: Int, _ value: (EvaluationRecord) -> Double) -> String {
                row.spread { value($0.evaluation) }.text(places, decimals)
            }
            let cells: [[String]] = [
                [decimals(row.trial.k, row.trial.k == row.trial.k.rounded() ? 0 : 1), row.trial.name, row.core],
                hasTokens ? ["\(row.trial.tokens)"] : [], hasSeed ? ["\(row.trial.seed)"] : [],
                [
                    shown(3) { $0.explained_variance }, shown(3) { $0.cossim }, shown(1) { $0.l0 },
                    shown(1) { $0.l0_core }, row.score.text(3, decimals),
                ],
                hasDifferences ? [trials.difference(row).map(signed) ?? "-"] : [],
                [shown(3) { $0.ce_loss_with_sae }, dead(row)],
            ]
            table.add(cells.flatMap { $0 })
        }
        return table.lines
    }

    private static func signed(_ difference: Interval) -> String {
        func number(_ value: Double) -> String { (value >= 0 ? "+" : "") + decimals(value, 3) }
        let limits = difference.hasLimits ? " [\(number(difference.low)), \(number(difference.high))]" : ""
        return number(difference.value) + limits
    }

    private static func dead(_ row: TrialTable.Row) -> String {
        let counts = row.saes.compactMap(\.deadLatents)
        return Spread(counts.map(Double.init)).text(0, decimals) + "/\(row.saes.first?.width ?? 0)"
    }

    private static func row(_ cells: [String]) -> String {
        cells.map { String(repeating: " ", count: max(0, 10 - $0.count)) + $0 }.joined(separator: " ")
    }
}
