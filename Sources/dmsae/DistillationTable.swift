import Distillation
import TensorFiles

/// What `distill` prints: a line per cycle, then the final core and the comparison.
enum DistillationTable {
    static let header = row(
        ["cycle", "core", "carried", "Jaccard", "coverage", "expl. var.", "L0", "L0 core", "CE score", "dead"])

    static func line(_ record: CycleRecord) -> String {
        let e = record.sae.evaluation
        return row([
            "\(record.cycle)", "\(record.coreSize)/\(record.candidates)",
            record.sae.frozenCore > 0 ? "\(record.carriedOver)/\(record.sae.frozenCore)" : "-",
            record.jaccard.map { decimals($0, 3) } ?? "-", decimals(record.coverage, 3),
            decimals(e.explained_variance, 3), decimals(e.l0, 1), decimals(e.l0_core, 1),
            decimals(e.ce_loss_score, 3), "\(record.sae.dead)/\(record.sae.width)",
        ])
    }

    static func ending(_ record: DistillationRecord, folder: String) -> String {
        var text = "\nfinal core: \(record.coreSize) latents that the last two cycles both selected "
        text += "(\(folder)/final/core.json)\n\n"
        text +=
            row(["k", "SAE", "frozen", "expl. var.", "cosine", "L0", "L0 core", "CE score", "CE loss", "dead"]) + "\n"
        for final in record.finals {
            for (sae, name) in final.named {
                let e = sae.evaluation
                text +=
                    row([
                        decimals(final.k, final.k == final.k.rounded() ? 0 : 1), name, "\(sae.frozenCore)",
                        decimals(e.explained_variance, 3),
                        decimals(e.cossim, 3), decimals(e.l0, 1), decimals(e.l0_core, 1),
                        decimals(e.ce_loss_score, 3), decimals(e.ce_loss_with_sae, 3),
                        "\(sae.dead)/\(sae.width)",
                    ]) + "\n"
            }
        }
        if let e = record.finals.first?.baseline.evaluation {
            text += "\nThe model's own loss is \(decimals(e.ce_loss_without_sae, 3)) nats per token, "
            text += "\(decimals(e.ce_loss_with_ablation, 3)) with its residual stream zeroed.\n"
        }
        return text
    }

    private static func row(_ cells: [String]) -> String {
        cells.map { String(repeating: " ", count: max(0, 10 - $0.count)) + $0 }.joined(separator: " ")
    }
}
