import Attribution
import LinearAlgebra
import SparseCoding
import TensorFiles

/// One line of `events.jsonl` when a final pair is done.
private struct FinalEvent: Encodable {
    let event = "final"
    let record: FinalRecord
}

extension Distillation {
    /// With the final core frozen, one DMSAE and one plain Matryoshka SAE at each k: same width, tokens, seed and
    /// total L0; and one more for each control that is asked for.
    ///
    /// - Parameter mark: SHA-256 of the last cycle's mark.
    func finish(
        _ core: Core, _ store: any ActivationSource, _ evaluation: EvaluationSet, mark: String
    ) throws -> [FinalRecord] {
        let folder = try place("final")
        // The last cycle's core.safetensors has the encoder vectors in the order of its core.json, of which the
        // stable latents are a part.
        let last = try Core.read(run.path + "/cycle-\(recipe.cycles)/core.json", width: recipe.width)
        let path = run.path + "/cycle-\(recipe.cycles)/core.json"
        let encoders = try Core.encoderRows(at: path, dIn: store.dIn)
        let biases = try Core.encoderBiases(at: path, count: encoders.rows)
        let rows = last.latents.indices.filter { last.latents[$0].previousIndex != nil }
        let (frozen, own) = (Matrix(rows: rows.count, columns: encoders.columns), Matrix(rows: 1, columns: rows.count))
        for (i, row) in rows.enumerated() {
            frozen.row(i).update(from: encoders.row(row), count: encoders.columns)
            own[i] = biases[row]
        }
        try core.write(encoder: frozen, biases: own, to: folder)
        let stable = FrozenCore(encoder: frozen, biases: own, mode: recipe.resolvedFinalCoreMode, recipe)
        let controls = try controls.map { ($0, try $0.core(frozen.rows, of: run, recipe)) }
        return try recipe.resolvedFinalK.map { k in
            let name = "final/k-\(k.recipeText)"
            if run.has(name + "/" + StepMark.name) {
                return try finishedPair(k, run.path + "/" + name, dIn: store.dIn, mark: mark)
            }
            let path = try place(name)
            let seed = seed(recipe.cycles + 1)
            let (_, dmsae) = try trainOne(
                name + "/dmsae", k: k, seed: seed, core: stable, budget: recipe.finalBudget, store, evaluation,
                folder: name + "/dmsae", after: mark)
            let (_, baseline) = try trainOne(
                name + "/baseline", k: k, seed: seed, core: nil, budget: .nonCore, store, evaluation,
                folder: name + "/baseline", after: mark)
            var record = FinalRecord(k: k, dmsae: dmsae, baseline: baseline)
            for (control, core) in controls {
                let part = name + "/" + control.rawValue
                record[control] = try trainOne(
                    part, k: k, seed: seed, core: core, budget: recipe.finalBudget, store, evaluation, folder: part,
                    after: mark
                ).1
            }
            for (part, title) in record.named {
                for warning in FailureSignature.commonSigns(part, "\(title) at k = \(k.recipeText)") {
                    progress.warn(warning)
                }
            }
            try log?.append(FinalEvent(record: record))
            _ = try place(name)
            try JSONRecord.write(record, to: path + "/metrics.json")
            try StepMark.write(pairFiles, of: path, run: identity, after: mark)
            return record
        }
    }

    private var controls: [CoreControl] { CoreControl.allCases.filter { $0.isAsked(by: recipe) } }

    private var pairFolders: [String] { ["dmsae", "baseline"] + controls.map(\.rawValue) }

    private var pairFiles: [String] {
        ["metrics.json"] + pairFolders.flatMap { folder in SAEFolder.files.map { "\(folder)/\($0)" } }
    }

    /// Reads a final pair back whole.
    private func finishedPair(_ k: Double, _ folder: String, dIn: Int, mark: String) throws -> FinalRecord {
        do {
            _ = try StepMark.check(pairFiles, of: folder, run: identity, after: mark)
            let record = try JSONRecord.read(FinalRecord.self, from: folder + "/metrics.json")
            guard record.k == k, record.controls.map(\.control) == controls,
                record.named.allSatisfy({ $0.record.seed == seed(recipe.cycles + 1) })
            else { throw DistillationError.stepDiffers("\(folder)/metrics.json is of another k or seed") }
            for name in pairFolders {
                let sae = try SAEFolder.read(folder + "/" + name).sae
                guard sae.dSAE == recipe.width, sae.dIn == dIn else {
                    throw DistillationError.stepDiffers("\(folder)/\(name) is an SAE of another shape")
                }
            }
            return record
        } catch {
            throw DistillationError.badStep(folder: folder, reason: "\(error)")
        }
    }
}
