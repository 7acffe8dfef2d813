import Attribution
import LinearAlgebra
import TensorFiles

/// One line of `events.jsonl` when a final pair is done.
private struct FinalEvent: Encodable {
    let event = "final"
    let record: FinalRecord
}

extension Distillation {
    /// With the final core frozen, one DMSAE and one plain Matryoshka SAE at each k: same width, tokens, seed and
    /// total L0.
    func finish(_ core: Core, _ store: ActivationStore, _ evaluation: EvaluationSet) throws -> [FinalRecord] {
        let folder = try run.folder("final")
        // The last cycle's core.safetensors has the encoder vectors in the order of its core.json, of which the
        // stable latents are a part.
        let last = try JSONRecord.read(Core.self, from: run.path + "/cycle-\(recipe.cycles)/core.json")
        let encoders = try Core.encoderRows(
            at: run.path + "/cycle-\(recipe.cycles)/core.json", dIn: store.record.dIn)
        let rows = last.latents.indices.filter { last.latents[$0].previousIndex != nil }
        let frozen = Matrix(rows: rows.count, columns: store.record.dIn)
        for (i, row) in rows.enumerated() {
            frozen.row(i).update(from: encoders.row(row), count: encoders.columns)
        }
        try core.write(encoder: frozen, to: folder)
        return try recipe.resolvedFinalK.map { k in
            let name = "final/k-\(k.recipeText)"
            let path = try run.folder(name)
            if run.has(name + "/metrics.json") {
                return try JSONRecord.read(FinalRecord.self, from: path + "/metrics.json")
            }
            let seed = seed(recipe.cycles + 1)
            let (_, dmsae) = try trainOne(
                name + "/dmsae", k: k, seed: seed, core: frozen, budget: recipe.finalBudget, store, evaluation,
                folder: path + "/dmsae")
            let (_, baseline) = try trainOne(
                name + "/baseline", k: k, seed: seed, core: nil, budget: .nonCore, store, evaluation,
                folder: path + "/baseline")
            let record = FinalRecord(k: k, dmsae: dmsae, baseline: baseline)
            for (part, title) in [(dmsae, "DMSAE"), (baseline, "baseline")] {
                for warning in FailureSignature.commonSigns(part, "\(title) at k = \(k.recipeText)") {
                    progress.warn(warning)
                }
            }
            try log?.append(FinalEvent(record: record))
            try JSONRecord.write(record, to: path + "/metrics.json")
            return record
        }
    }
}
